"""Cutting on threads that wait for the event loop: vectors arrive, errors too, and nobody is left waiting."""

import asyncio
import contextvars
from collections.abc import AsyncIterator
from concurrent.futures import Future

import pytest
import pytest_asyncio

from perplex_mono.errors import Unavailable
from perplex_mono.ingestion.chunks import Splitter
from perplex_mono.ingestion.cutting import Cutter
from perplex_mono.ingestion.pages import Page
from tests.app_client import PausableEmbedder
from tests.unit.ingestion.chunked_pages import WORDS, prose

PAGE = Page(number=1, text=prose(60))


@pytest.fixture
def embedder() -> PausableEmbedder:
    return PausableEmbedder()


@pytest_asyncio.fixture
async def cutter(embedder: PausableEmbedder) -> AsyncIterator[Cutter]:
    opened = Cutter(WORDS, embedder, threads=1)
    yield opened
    opened.close()


async def test_vectors_come_from_the_event_loop(cutter: Cutter, embedder: PausableEmbedder) -> None:
    with cutter.splitter("semantic", 40, 0) as splitter:
        cut_pages, _ = await cutter.cut(splitter, [PAGE, PAGE], ())
    assert [len(page.chunks) > 4 for page in cut_pages] == [True, True]
    assert all(len(page.boxes) == len(page.chunks) for page in cut_pages)
    assert len(embedder.calls) == 2


async def test_other_ways_of_cutting_ask_for_no_vectors(cutter: Cutter, embedder: PausableEmbedder) -> None:
    for strategy in ("structure", "fixed", "recursive", "sentence", "hierarchical"):
        with cutter.splitter(strategy, 40, 0) as splitter:
            assert (await cutter.cut(splitter, [PAGE], ()))[0][0].chunks
    assert embedder.calls == []


async def test_what_embedding_raises_reaches_the_caller(cutter: Cutter, embedder: PausableEmbedder) -> None:
    embedder.error = Unavailable("embedding", "the model is loading")
    with cutter.splitter("semantic", 40, 0) as splitter, pytest.raises(Unavailable, match="is loading"):
        await cutter.cut(splitter, [PAGE], ())


async def test_a_cancelled_cut_frees_its_thread_and_asks_for_no_more(
    cutter: Cutter, embedder: PausableEmbedder
) -> None:
    embedder.turnstile.close()

    async def cut() -> None:
        with cutter.splitter("semantic", 40, 0) as splitter:
            await cutter.cut(splitter, [PAGE] * 50, ())

    task = asyncio.create_task(cut())
    await embedder.turnstile.reached.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with asyncio.timeout(30):
        assert await cutter.run(lambda: "the only thread is free") == "the only thread is free"
    embedder.turnstile.open()
    await asyncio.sleep(0)
    assert embedder.calls == []


async def test_a_splitter_kept_beyond_its_block_gets_no_vectors(cutter: Cutter, embedder: PausableEmbedder) -> None:
    kept: list[Splitter] = []
    with cutter.splitter("semantic", 40, 0) as splitter:
        kept.append(splitter)
    with pytest.raises(asyncio.CancelledError):
        await cutter.cut(kept[0], [PAGE], ())
    assert embedder.calls == []


async def test_the_threads_work_in_the_callers_context(cutter: Cutter) -> None:
    trace = contextvars.ContextVar("trace", default="none")
    trace.set("the caller's")
    assert await cutter.run(trace.get) == "the caller's"


async def test_closing_waits_for_nobody(embedder: PausableEmbedder) -> None:
    opened = Cutter(WORDS, embedder, threads=1)
    held: Future[None] = Future()
    running = asyncio.create_task(opened.run(held.result))
    await asyncio.sleep(0)
    opened.close()
    with pytest.raises(RuntimeError):
        await opened.run(lambda: None)
    held.set_result(None)
    await running
