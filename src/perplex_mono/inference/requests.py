"""What a caller on the event loop hands to a model thread, and how the answer finds its way back."""

import asyncio
import contextlib
import contextvars
import threading
from collections import deque
from collections.abc import Callable, Sequence

import numpy as np

from perplex_mono.inference.embedder import EmbeddingMode, Vectors
from perplex_mono.telemetry.traces import current_span
from perplex_mono.telemetry.waiting import waiter


class EmbeddingRequest:
    """Texts of one caller. `future` ends with `(len(texts), dimension)` vectors, or with the first error.

    Made on the event loop; `begin`, `deliver` and `fail` are for the model threads. `context` carries the caller's
    trace, and `caller` is the span in it.
    """

    def __init__(self, texts: Sequence[str], mode: EmbeddingMode, dimension: int) -> None:
        self.texts = texts
        self.mode: EmbeddingMode = mode
        self.context = contextvars.copy_context()
        self.caller = current_span()
        self._loop = asyncio.get_running_loop()
        self.future: asyncio.Future[Vectors] = self._loop.create_future()
        self._vectors = np.empty((len(texts), dimension), dtype=np.float32)
        self._missing = len(texts)
        self._delivering = threading.Lock()
        self._abandoned = False
        self._mark_waiting = waiter()
        self._has_begun = False
        self.future.add_done_callback(self._abandon)

    @property
    def abandoned(self) -> bool:
        """True when nobody waits any more: cancelled, or failed by another part of it."""
        return self._abandoned

    def begin(self) -> None:
        """Some of the texts go to the model: from now on it matters no more that the line moves."""
        self._has_begun = True
        self._mark_waiting()

    def move_up(self) -> None:
        """The line moved: as long as it does, the caller's wait is no standing still."""
        if not self._has_begun:
            self._mark_waiting()

    def deliver(self, index: int, vector: Vectors) -> None:
        """Store the vector of text `index`; the last one ends the request."""
        self._vectors[index] = vector
        with self._delivering:
            self._missing -= 1
            is_last = self._missing == 0
        if is_last:
            self._end(lambda: self.future.set_result(self._vectors))

    def fail(self, error: Exception) -> None:
        if not self._abandoned:
            self._abandoned = True
            self._end(lambda: self.future.set_exception(error))

    def _abandon(self, future: "asyncio.Future[Vectors]") -> None:
        self._abandoned = True

    def _end(self, settle: Callable[[], None]) -> None:
        def settle_once() -> None:
            if not self.future.done():
                settle()

        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(settle_once)


class TextSlots:
    """Room for so many texts in a queue; callers wait for it in turn. Lives on one event loop."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._waiters: deque[tuple[int, asyncio.Future[None]]] = deque()
        self.used = 0

    async def acquire(self, count: int) -> int:
        """Wait until `count` texts (or the whole limit, if that is less) fit; return what was taken, for `release`."""
        count = min(count, self._limit)
        if not self._waiters and self.used + count <= self._limit:
            self.used += count
            return count
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append((count, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.release(count)
            else:
                with contextlib.suppress(ValueError):
                    self._waiters.remove((count, turn))
                self._admit()
            raise
        return count

    def release(self, count: int) -> None:
        self.used -= count
        self._admit()

    def _admit(self) -> None:
        while self._waiters and self.used + self._waiters[0][0] <= self._limit:
            count, turn = self._waiters.popleft()
            if not turn.done():
                self.used += count
                turn.set_result(None)
