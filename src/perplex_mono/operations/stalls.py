"""Notices long work that stands still: an attempt that gets nothing done for too long will not come back by itself."""

import time
from collections.abc import Callable


class StallWatch:
    """Remembers when each attempt last got something done, or said that it waits on purpose.

    Operations share places, readers, OCR and the model, so one that is silent may wait for another: its clock runs only
    while none gets anything done. One that waits for room, or for more to do, says so as long as it looks out for it;
    that keeps no other one from being found to stand still. `patience_seconds` of its own silence are too much in any
    case.
    """

    def __init__(
        self, limit_seconds: float, patience_seconds: float, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.limit_seconds = limit_seconds
        self._patience_seconds = max(patience_seconds, limit_seconds)
        self._clock = clock
        self._moved_at: dict[str, float] = {}
        self._any_moved_at = clock()

    def begin(self, operation_id: str) -> None:
        """An attempt starts."""
        self._moved_at[operation_id] = self._clock()

    def mark_moved(self, operation_id: str) -> None:
        """The operation got something done that would survive a crash."""
        if operation_id in self._moved_at:
            self._moved_at[operation_id] = self._any_moved_at = self._clock()

    def mark_waiting(self, operation_id: str) -> None:
        """The operation waits on purpose, and would notice if it need not: nothing got done, and it is not stalled."""
        if operation_id in self._moved_at:
            self._moved_at[operation_id] = self._clock()

    def end(self, operation_id: str) -> None:
        """The attempt is over."""
        self._moved_at.pop(operation_id, None)

    def silent_seconds(self) -> float:
        """For how long the worst of the running attempts has stood still; 0 when none runs. Safe on any thread."""
        now = self._clock()
        return max((min(now - at, now - self._any_moved_at) for at in list(self._moved_at.values())), default=0.0)

    def is_stalled(self, operation_id: str) -> bool:
        """Whether the attempt should be interrupted."""
        now = self._clock()
        silent = now - self._moved_at[operation_id]
        all_silent = min(silent, now - self._any_moved_at)
        return all_silent > self.limit_seconds or silent > self._patience_seconds
