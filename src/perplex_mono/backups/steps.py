"""Long blocking steps on a thread that say how far they are, and end soon when nobody wants them any more."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

from perplex_mono.backups.archive import OnBytes
from perplex_mono.operations.progress import ProgressMeter

T = TypeVar("T")
WATCH_SECONDS = 0.5


class BlockingSteps:
    """Runs one step after the other; cancelled, a step ends at its next chunk."""

    def __init__(self, meter: ProgressMeter) -> None:
        self._meter = meter
        self._loop = asyncio.get_running_loop()
        self._stopped = threading.Event()

    def is_stopped(self) -> bool:
        """Whether whoever asked for the work is gone."""
        return self._stopped.is_set()

    async def run(self, step: str, work: Callable[[OnBytes], T]) -> T:
        """Do `work(on_bytes)` on a thread and wait for its end, also when cancelled."""

        def on_bytes(count: int) -> None:
            if self.is_stopped():
                raise InterruptedError("The work was stopped.")
            self._loop.call_soon_threadsafe(self._meter.advance, count, {"step": step})

        task = asyncio.ensure_future(asyncio.to_thread(work, on_bytes))
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
            self._meter.advance(size - known, {"step": step})
            known = size


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
