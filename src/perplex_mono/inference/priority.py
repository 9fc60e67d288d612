"""Questions before everything else: a person waits for one, a queue for the other."""

import asyncio
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from perplex_mono.inference.encoder import Pause

MAX_PAUSE_SECONDS = 0.5  # for which one step of other work stands aside, in all


class QueryPriority:
    """Knows whether questions are being answered or were lately, and lets other work stand aside.

    Questions come and go on one event loop; whoever stands aside may be on any thread.
    """

    def __init__(
        self,
        *,
        recent_seconds: float,
        max_pause_seconds: float = MAX_PAUSE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._max_pause_seconds = max_pause_seconds
        self._recent_seconds = recent_seconds
        self._clock = clock
        self._quiet = threading.Condition()
        self._none_open = asyncio.Event()
        self._none_open.set()
        self._open = 0
        self._last = -recent_seconds

    @contextmanager
    def question(self) -> Iterator[None]:
        """A question, or a part of one, is being answered in this block."""
        with self._quiet:
            self._open += 1
            self._none_open.clear()
        try:
            yield
        finally:
            with self._quiet:
                self._open -= 1
                self._last = self._clock()
                if self._open == 0:
                    self._quiet.notify_all()
                    self._none_open.set()

    def recent(self) -> bool:
        """Tell whether ingestion should keep its batches small."""
        return self._open > 0 or self._clock() - self._last < self._recent_seconds

    def new_pause(self) -> Pause:
        """Return a pause for one step on a thread: it blocks during questions, for so long in all calls together.

        The bound keeps other work moving, slowly, under questions without end.
        """
        left = self._max_pause_seconds

        def pause() -> None:
            nonlocal left
            if self._open == 0 or left <= 0:
                return
            started = time.monotonic()
            with self._quiet:
                self._quiet.wait_for(lambda: self._open == 0, timeout=left)
            left -= time.monotonic() - started

        return pause

    async def stand_aside(self) -> None:
        """The same for a step on the event loop."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self._max_pause_seconds):
                await self._none_open.wait()


def never_pause() -> None:
    """The pause of work that stands aside for nobody."""


def lower_thread_priority(niceness: int) -> None:
    """Make the calling thread, and compute threads it starts later, nicer. Linux only: elsewhere it is per process."""
    if sys.platform == "linux" and niceness > 0:
        with suppress(OSError):  # not allowed here: the work is done all the same
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), niceness)
