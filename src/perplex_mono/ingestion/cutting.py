"""Cuts pages on threads of their own: a splitter may wait there for vectors, and nothing else shall wait behind it."""

import asyncio
import contextvars
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from perplex_mono.inference.embedder import Embedder, Vectors
from perplex_mono.inference.models import EmbeddingModel
from perplex_mono.inference.priority import QueryPriority
from perplex_mono.ingestion.boxes import boxes_for
from perplex_mono.ingestion.chunking import make_splitter
from perplex_mono.ingestion.chunks import Outline, Splitter
from perplex_mono.ingestion.indexing import CutPage
from perplex_mono.ingestion.pages import Page
from perplex_mono.ingestion.targets import IndexTarget

Result = TypeVar("Result")


class Cutter:
    """Cuts for any model, at most `threads` texts at a time. A cut that is cancelled takes its sentences back."""

    def __init__(self, *, threads: int, priority: QueryPriority) -> None:
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="cut")
        self._priority = priority

    async def cut(self, target: IndexTarget, pages: Sequence[Page], outline: Outline) -> tuple[list[CutPage], Outline]:
        """Cut pages that begin under `outline` for an index; also the outline at their end.

        Stands aside for questions between pages. Raises what embedding raises.
        """
        index = target.index

        def work(splitter: Splitter) -> tuple[list[CutPage], Outline]:
            now, done, pause = outline, [], self._priority.new_pause()
            for page in pages:
                pause()
                chunks, now = splitter.split_page(page, now)
                done.append(CutPage(page, chunks, [boxes_for(page, chunk.start, chunk.end) for chunk in chunks]))
            return done, now

        return await self.run(
            work, target.model, index.chunk_strategy, index.chunk_max_tokens, index.chunk_overlap_tokens
        )

    async def run(
        self,
        work: Callable[[Splitter], Result],
        model: EmbeddingModel,
        strategy: str,
        max_tokens: int,
        overlap_tokens: int,
    ) -> Result:
        """Run `work` with a splitter on one of the threads, in the caller's context.

        Raises what it raises, and `ConfigurationError` for values that cannot work.
        """
        loop, context = asyncio.get_running_loop(), contextvars.copy_context()
        with _vectors_for_thread(model.embedder, loop) as embed:
            splitter = make_splitter(strategy, max_tokens, overlap_tokens, model.tokens, embed)
            return await loop.run_in_executor(self._threads, context.run, work, splitter)

    def close(self) -> None:
        """Start nothing any more."""
        self._threads.shutdown(wait=False, cancel_futures=True)


@contextmanager
def _vectors_for_thread(
    embedder: Embedder, loop: asyncio.AbstractEventLoop
) -> Iterator[Callable[[Sequence[str]], Vectors]]:
    """Embeds on the event loop for a thread that waits; at the end of the block that thread is told to stop.

    What the block gives raises what the embedder raises, and `CancelledError` from then on.
    """
    lock = threading.Lock()
    awaited: list[Future[Vectors]] = []
    is_over = False

    def embed(texts: Sequence[str]) -> Vectors:
        with lock:
            if is_over:
                raise CancelledError
            awaited[:] = [asyncio.run_coroutine_threadsafe(embedder.embed_documents(texts), loop)]
        return awaited[0].result()

    try:
        yield embed
    finally:
        with lock:
            is_over = True
        for future in awaited:
            future.cancel()
