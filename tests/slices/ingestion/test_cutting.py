"""Cutting on threads that wait for the event loop: vectors arrive, errors too, and nobody is left waiting."""

import asyncio
import contextvars
from collections.abc import AsyncIterator, Sequence
from threading import Event

import pytest
import pytest_asyncio

from perplex_mono.errors import ConfigurationError, Unavailable
from perplex_mono.inference.embedder import Vectors
from perplex_mono.inference.fakes import FakeEmbedder
from perplex_mono.inference.loading import find_files
from perplex_mono.inference.models import EmbeddingModel
from perplex_mono.inference.priority import QueryPriority
from perplex_mono.ingestion.chunks import Chunk, Splitter
from perplex_mono.ingestion.cutting import Cutter
from perplex_mono.ingestion.pages import Page
from perplex_mono.ingestion.targets import IndexTarget
from perplex_mono.library.models import SearchIndex
from perplex_mono.telemetry.waiting import TimedWork, timed_work_var
from tests.app_client import PausableEmbedder
from tests.timed_work import NotedWork, working_at
from tests.unit.ingestion.chunked_pages import prose

PAGE = Page(number=1, text=prose(60))
MOST_COMMON_THREADS = 32  # of the pool that asyncio.to_thread uses, on any machine


class Cut:
    """Cuts with a stand-in model, on a single thread unless told otherwise."""

    def __init__(self, threads: int = 1) -> None:
        self.embedder = PausableEmbedder()
        self.priority = QueryPriority(recent_seconds=0)
        self.model = EmbeddingModel("fake", self.embedder, find_files("bundled").token_counter())
        self.cutter = Cutter(threads=threads, priority=self.priority)

    async def __call__(self, strategy: str = "semantic", pages: int = 1) -> list[Chunk]:
        def work(splitter: Splitter) -> list[Chunk]:
            return [chunk for _ in range(pages) for chunk in splitter.split_page(PAGE, ())[0]]

        return await self.cutter.run(work, self.model, strategy, 40, 0)


@pytest_asyncio.fixture
async def cut() -> AsyncIterator[Cut]:
    made = Cut()
    yield made
    made.cutter.close()


async def test_vectors_come_from_the_event_loop(cut: Cut) -> None:
    assert len(await cut(pages=2)) > 8
    assert len(cut.embedder.calls) == 2


class WorkNotingEmbedder(FakeEmbedder):
    """Notes whose work each document call is."""

    def __init__(self) -> None:
        super().__init__()
        self.works: list[TimedWork | None] = []

    async def embed_documents(self, texts: Sequence[str]) -> Vectors:
        self.works.append(timed_work_var.get())
        return await super().embed_documents(texts)


async def test_the_thread_waits_for_vectors_in_the_name_of_the_caller_s_work(cut: Cut) -> None:
    """Otherwise one who cuts with a model that is slow, but moves, would be taken for one that hangs."""
    work, embedder = NotedWork(), WorkNotingEmbedder()
    cut.model = EmbeddingModel("fake", embedder, cut.model.tokens)
    with working_at(work):
        await cut()
    assert embedder.works == [work]


async def test_other_ways_of_cutting_ask_for_no_vectors(cut: Cut) -> None:
    for strategy in ("structure", "fixed", "recursive", "sentence", "hierarchical"):
        assert await cut(strategy)
    assert cut.embedder.calls == []


async def test_errors_reach_the_caller(cut: Cut) -> None:
    cut.embedder.error = Unavailable("embedding", "the model is loading")
    with pytest.raises(Unavailable, match="is loading"):
        await cut()
    with pytest.raises(ConfigurationError, match="must be one of"):
        await cut("magic")


async def test_cuts_that_wait_take_no_thread_from_anyone_else() -> None:
    cut = Cut(threads=2 * MOST_COMMON_THREADS)
    cut.embedder.turnstile.close()
    waiting = [asyncio.create_task(cut()) for _ in range(MOST_COMMON_THREADS + 1)]
    await cut.embedder.turnstile.reached.wait()
    async with asyncio.timeout(30):
        assert await asyncio.to_thread(lambda: "at once") == "at once"
    cut.embedder.turnstile.open()
    assert all(await asyncio.gather(*waiting))
    cut.cutter.close()


async def test_a_cancelled_cut_frees_its_thread_and_asks_for_no_more(cut: Cut) -> None:
    cut.embedder.turnstile.close()
    task = asyncio.create_task(cut(pages=50))
    await cut.embedder.turnstile.reached.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with asyncio.timeout(30):
        assert await cut("sentence"), "the only thread is free"
    cut.embedder.turnstile.open()
    assert cut.embedder.calls == []


async def test_a_thread_that_works_on_after_a_cancel_gets_no_vectors(cut: Cut) -> None:
    began, cancelled, ended = Event(), Event(), Event()

    def work(splitter: Splitter) -> None:
        began.set()
        cancelled.wait(30)
        try:
            splitter.split_page(PAGE, ())
        finally:
            ended.set()

    task = asyncio.create_task(cut.cutter.run(work, cut.model, "semantic", 40, 0))
    await asyncio.to_thread(began.wait, 30)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    cancelled.set()
    assert await asyncio.to_thread(ended.wait, 30)
    assert cut.embedder.calls == []


async def test_the_threads_work_in_the_callers_context(cut: Cut) -> None:
    trace = contextvars.ContextVar("trace", default="none")
    trace.set("the caller's")
    assert await cut.cutter.run(lambda _: trace.get(), cut.model, "fixed", 40, 0) == "the caller's"


async def test_pages_are_cut_when_no_question_is_being_answered(cut: Cut) -> None:
    index = SearchIndex(
        collection_id="c",
        owner_id="o",
        model="fake",
        model_key=cut.embedder.model_key,
        dimension=cut.embedder.dimension,
        chunk_strategy="fixed",
        chunk_max_tokens=40,
        chunk_overlap_tokens=0,
        table_name="t",
    )
    target = IndexTarget(index, cut.model)
    with cut.priority.question():
        cutting = asyncio.create_task(cut.cutter.cut(target, [PAGE, PAGE], ()))
        await asyncio.sleep(0.05)
        assert not cutting.done()
    async with asyncio.timeout(30):
        cut_pages, _ = await cutting
    assert [bool(page.chunks) for page in cut_pages] == [True, True]


async def test_closing_waits_for_nobody(cut: Cut) -> None:
    held = Event()
    running = asyncio.create_task(cut.cutter.run(lambda _: held.wait(30), cut.model, "fixed", 40, 0))
    await asyncio.sleep(0)
    cut.cutter.close()
    with pytest.raises(RuntimeError):
        await cut("fixed")
    held.set()
    assert await running
