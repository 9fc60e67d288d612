"""Questions before ingestion: a person waits for one, a queue for the other."""

import os
import sys
import threading
import time
from collections.abc import Callable

from perplex_mono.inference.encoder import Pause


class QueryPriority:
    """Knows whether questions wait or were asked lately, and lets ingestion stand aside for them. Thread-safe."""

    def __init__(self, *, recent_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._recent_seconds = recent_seconds
        self._clock = clock
        self._quiet = threading.Condition()
        self._waiting = 0
        self._last = -recent_seconds

    def arrived(self) -> None:
        """A question joined the queue."""
        with self._quiet:
            self._waiting += 1

    def left(self) -> None:
        """A question was answered, failed or given up."""
        with self._quiet:
            self._waiting -= 1
            self._last = self._clock()
            if self._waiting == 0:
                self._quiet.notify_all()

    @property
    def waiting(self) -> int:
        return self._waiting

    def recent(self) -> bool:
        """Tell whether ingestion should keep its batches small."""
        return self._waiting > 0 or self._clock() - self._last < self._recent_seconds

    def pause_within(self, max_seconds: float) -> Pause:
        """Return a pause for one batch: it blocks while questions wait, at most `max_seconds` in all calls together.

        The bound keeps ingestion moving, slowly, under questions without end.
        """
        left = max_seconds

        def pause() -> None:
            nonlocal left
            if self._waiting == 0 or left <= 0:
                return
            started = time.monotonic()
            with self._quiet:
                self._quiet.wait_for(lambda: self._waiting == 0, timeout=left)
            left -= time.monotonic() - started

        return pause


def never_pause() -> None:
    """The pause of work that stands aside for nobody."""


def lower_thread_priority(niceness: int) -> None:
    """Make the calling thread, and compute threads it starts later, nicer. Linux only: elsewhere it is per process."""
    if sys.platform == "linux" and niceness > 0:
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), niceness)
