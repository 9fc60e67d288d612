"""Vectors of recent questions, and one computation for callers who ask the same thing at the same moment."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable

from perplex_mono.inference.embedder import Vectors


class QueryCache:
    """Least-recently-used cache of `max_entries` vectors; 0 keeps none. Lives on one event loop."""

    def __init__(self, max_entries: int) -> None:
        self._max_entries = max_entries
        self._vectors: OrderedDict[Hashable, Vectors] = OrderedDict()
        self._running: dict[Hashable, tuple[asyncio.Task[Vectors], list[object]]] = {}
        self.hits = 0
        self.shared = 0

    async def get(self, key: Hashable, compute: Callable[[], Awaitable[Vectors]]) -> Vectors:
        """Return the vector for `key`, computing it at most once at a time.

        A caller that is cancelled leaves the computation to the others; with nobody left it is cancelled too.
        Errors reach everyone who waited and are not kept.
        """
        vector = self._vectors.get(key)
        if vector is not None:
            self._vectors.move_to_end(key)
            self.hits += 1
            return vector
        task, waiters = self._join(key, compute)
        me = object()
        waiters.append(me)
        try:
            return await asyncio.shield(task)
        finally:
            waiters.remove(me)
            if not waiters and not task.done():
                self._running.pop(key, None)
                task.cancel()

    def clear(self) -> None:
        self._vectors.clear()

    def _join(
        self, key: Hashable, compute: Callable[[], Awaitable[Vectors]]
    ) -> tuple[asyncio.Task[Vectors], list[object]]:
        running = self._running.get(key)
        if running is not None:
            self.shared += 1
            return running
        task = asyncio.ensure_future(self._compute(key, compute))
        self._running[key] = (task, [])
        return self._running[key]

    async def _compute(self, key: Hashable, compute: Callable[[], Awaitable[Vectors]]) -> Vectors:
        me = asyncio.current_task()
        try:
            vector = await compute()
        finally:
            if self._running.get(key, (None,))[0] is me:
                del self._running[key]
        if self._max_entries > 0:
            self._vectors[key] = vector
            if len(self._vectors) > self._max_entries:
                self._vectors.popitem(last=False)
        return vector
