"""Notices long work that stands still: an attempt that gets nothing done for too long will not come back by itself."""

import time
from collections.abc import Callable


class Silence:
    """For how long one attempt has got nothing done, and whether it could; see `telemetry.waiting`."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._working = 1
        self._since = clock()

    @property
    def is_in_line(self) -> bool:
        """Whether all of its tasks wait for what other operations hold."""
        return self._working <= 0

    def seconds(self) -> float:
        """How long it has lasted."""
        return self._clock() - self._since

    def mark_waiting(self) -> None:
        """Begin anew: the attempt got something done, waits on purpose, or stands in a line that moves."""
        self._since = self._clock()

    def count_working(self, change: int) -> None:
        """So many more, or fewer, of its tasks do not stand in line; when its turn comes, it begins anew."""
        if self.is_in_line and change > 0:
            self.mark_waiting()
        self._working += change


class StallWatch:
    """Times the silence of every attempt. One that hangs is found after `limit_seconds`, whatever others do.

    Where operations hold what others wait for (a place, a reader), who stands in line is not to blame: those before it
    are watched themselves, and make way when they are interrupted. Its silence counts only while nobody gets anything
    done, and it is interrupted after twice the limit of that, or after `patience_seconds` of its own in any case. Lines
    in front of an engine (OCR, a model) begin the silence of all who stand in them anew whenever they move, so that
    everybody is found who waits for one that hangs.
    """

    def __init__(
        self, limit_seconds: float, patience_seconds: float, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.limit_seconds = limit_seconds
        self._patience_seconds = max(patience_seconds, limit_seconds)
        self._clock = clock
        self._silences: dict[str, Silence] = {}
        self._any_moved_at = clock()

    def begin(self, operation_id: str) -> Silence:
        """An attempt starts; one of its tasks works."""
        silence = self._silences[operation_id] = Silence(self._clock)
        return silence

    def mark_moved(self, operation_id: str) -> None:
        """The operation got something done that would survive a crash."""
        if operation_id in self._silences:
            self._any_moved_at = self._clock()
            self._silences[operation_id].mark_waiting()

    def end(self, operation_id: str) -> None:
        """The attempt is over."""
        self._silences.pop(operation_id, None)

    def silent_seconds(self) -> float:
        """For how long the worst of the running attempts has stood still; 0 when none runs. Safe on any thread."""
        return max(map(self._counted_seconds, list(self._silences.values())), default=0.0)

    def is_stalled(self, operation_id: str) -> bool:
        """Whether the attempt should be interrupted."""
        silence = self._silences[operation_id]
        if not silence.is_in_line:
            return silence.seconds() > self.limit_seconds
        is_deadlock = self._counted_seconds(silence) > 2 * self.limit_seconds
        return is_deadlock or silence.seconds() > self._patience_seconds

    def _counted_seconds(self, silence: Silence) -> float:
        own = silence.seconds()
        return min(own, self._clock() - self._any_moved_at) if silence.is_in_line else own
