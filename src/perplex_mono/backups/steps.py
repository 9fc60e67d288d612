"""Long blocking steps on a thread that say how far they are, and end soon when nobody wants them any more."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Self, TypeVar

from perplex_mono.backups.archive import OnBytes
from perplex_mono.inference.priority import lower_thread_priority

T = TypeVar("T")
Advance = Callable[[int, Mapping[str, str]], object]
"""Told of bytes that were handled and of the step, as `ProgressMeter.advance` is; called on the event loop."""
WATCH_SECONDS = 0.5
NICENESS = 10  # nobody waits for the next second of a backup, but somebody may for a search


class BlockingSteps:
    """Runs one step after the other on a thread of their own; cancelled, a step ends at its next chunk."""

    def __init__(self, advance: Advance) -> None:
        self._advance = advance
        self._loop = asyncio.get_running_loop()
        self._stopped = threading.Event()
        self._thread = ThreadPoolExecutor(1, "backup", initializer=lower_thread_priority, initargs=(NICENESS,))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.shutdown(wait=False)

    def is_stopped(self) -> bool:
        """Whether whoever asked for the work is gone."""
        return self._stopped.is_set()

    async def run(self, step: str, work: Callable[[OnBytes], T]) -> T:
        """Do `work(on_bytes)` on the thread and wait for its end, also when cancelled."""

        def on_bytes(count: int) -> None:
            if self.is_stopped():
                raise InterruptedError("The work was stopped.")
            self._loop.call_soon_threadsafe(self._advance, count, {"step": step})

        task = self._loop.run_in_executor(self._thread, work, on_bytes)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            self._stopped.set()
            await asyncio.wait([task])
            raise

    @asynccontextmanager
    async def watching(self, path: Path, step: str) -> AsyncIterator[None]:
        """Count what a file grows by while the block runs, for a step that says nothing of itself."""
        watch = asyncio.create_task(self._watch(path, step))
        try:
            yield
        finally:
            watch.cancel()
            await asyncio.gather(watch, return_exceptions=True)

    async def _watch(self, path: Path, step: str) -> None:
        known = 0
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            size = await asyncio.to_thread(_size, path)
            self._advance(size - known, {"step": step})
            known = size


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
