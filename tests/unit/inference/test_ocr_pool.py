"""The queue in front of the OCR models: fallback, retries, limits, cancellation, closing."""

import asyncio
import threading
from collections.abc import Callable, Sequence

import pytest
from prometheus_client import CollectorRegistry

from perplex_mono.errors import DocumentFailure, InvalidInput, Overloaded, Unavailable
from perplex_mono.inference.embedder import EmbedderStatus
from perplex_mono.inference.metrics import EngineMetrics, InferenceMetrics
from perplex_mono.inference.ocr import OcrPage, PageRaster
from perplex_mono.inference.ocr_engines import open_ocr
from perplex_mono.inference.ocr_places import MAX_OVERTAKES
from perplex_mono.inference.ocr_pool import PooledOcrEngine, Reader, ReaderSource
from tests.figures import figure
from tests.stepwise_reader import StepwiseReader
from tests.timed_work import NotedWork, working_at

PAGE = PageRaster(1, 1, b"\x00\x00\x00")
EMPTY = OcrPage(lines=(), rotation=0, confidence=0.0)


class GatedReader:
    """Reads only when told to, and counts."""

    def __init__(self, *, open_gate: bool = True) -> None:
        self.gate = threading.Event()
        self.entered = 0
        self.read_bytes: list[bytes] = []
        self.error: Exception | None = None
        if open_gate:
            self.gate.set()

    def read(self, raster: PageRaster) -> OcrPage:
        self.entered += 1
        self.read_bytes.append(raster.pixels)
        assert self.gate.wait(10)
        if self.error is not None:
            raise self.error
        return EMPTY

    def shrink(self) -> None:
        pass


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def source(name: str, load: Callable[[], Reader]) -> ReaderSource:
    return ReaderSource(name, f"{name}-1", load)


def broken() -> Reader:
    raise OSError("model file is damaged")


def pool(*sources: ReaderSource, threads: int = 1, queue: int = 4, clock: Clock | None = None) -> PooledOcrEngine:
    return PooledOcrEngine(sources, threads=threads, max_queued_pages=queue, clock=clock or Clock())


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(2_000):
        if condition():
            return
        await asyncio.sleep(0.005)
    raise AssertionError("waited 10 s in vain")


async def test_the_models_load_once_for_many_pages_at_once() -> None:
    loads: list[GatedReader] = []

    def load() -> Reader:
        loads.append(GatedReader())
        return loads[-1]

    engine = pool(source("first", load), threads=2, queue=10)
    assert engine.status().state == "idle"
    await asyncio.gather(*(engine.recognise(PAGE) for _ in range(8)))
    status = engine.status()
    assert (len(loads), status.init_total, status.requests, status.state) == (1, 1, 8, "ready")
    await engine.close()


async def test_the_second_engine_stands_in_and_says_why() -> None:
    engine = pool(source("first", broken), source("second", GatedReader))
    assert await engine.recognise(PAGE) == EMPTY
    status = engine.status()
    assert (engine.name, engine.version, status.state, status.init_errors) == ("second", "second-1", "ready", 1)
    assert "first did not start: model file is damaged" in (status.reason or "")
    await engine.close()


async def test_pages_and_starts_are_counted() -> None:
    registry = CollectorRegistry()
    reader = GatedReader()
    sources = (source("first", broken), source("second", lambda: reader))
    engine = PooledOcrEngine(sources, threads=1, max_queued_pages=4, metrics=InferenceMetrics(registry))
    EngineMetrics(lambda: [EmbedderStatus(state="ready", model_key="none")], engine.status, registry)
    await engine.recognise(PAGE)
    reader.error = MemoryError()
    with pytest.raises(DocumentFailure):
        await engine.recognise(PAGE)
    assert figure(registry, "ocr_initialization_total") == 2
    assert figure(registry, "ocr_initialization_errors_total") == 1
    assert figure(registry, "ocr_requests_total") == 2
    assert figure(registry, "ocr_errors_total") == 1
    assert figure(registry, "ocr_processing_seconds_count") == 2
    assert figure(registry, "model_load_seconds_count", component="ocr") == 1
    assert figure(registry, "model_load_errors_total", component="ocr") == 0, "the second one did start"
    await engine.close()


async def test_a_load_that_no_engine_survives_is_counted_once() -> None:
    registry = CollectorRegistry()
    sources = (source("first", broken), source("second", broken))
    engine = PooledOcrEngine(sources, threads=1, max_queued_pages=4, metrics=InferenceMetrics(registry))
    with pytest.raises(Unavailable):
        await engine.recognise(PAGE)
    assert figure(registry, "model_load_errors_total", component="ocr") == 1
    await engine.close()


async def test_failure_to_start_is_said_and_retried_only_after_a_while() -> None:
    clock = Clock()
    works = False
    tries = 0

    def load() -> Reader:
        nonlocal tries
        tries += 1
        return GatedReader() if works else broken()

    engine = pool(source("first", load), clock=clock)
    for _ in range(3):
        with pytest.raises(Unavailable, match="model file is damaged"):
            await engine.recognise(PAGE)
    assert (tries, engine.status().state) == (1, "failed")
    works = True
    clock.now += 60
    assert await engine.recognise(PAGE) == EMPTY
    assert (tries, engine.status().reason) == (2, None)
    await engine.close()


async def test_a_full_queue_refuses_and_recovers() -> None:
    reader = GatedReader(open_gate=False)
    engine = pool(source("first", lambda: reader), queue=2)
    waiting = [asyncio.create_task(engine.recognise(PAGE)) for _ in range(3)]
    await until(lambda: engine.status().running == 1 and engine.status().queued == 2)
    with pytest.raises(Overloaded):
        await engine.recognise(PAGE)
    reader.gate.set()
    assert await asyncio.gather(*waiting) == [EMPTY] * 3
    assert await engine.recognise(PAGE) == EMPTY
    await engine.close()


async def line_up(engine: PooledOcrEngine, pages: Sequence[int], *, is_urgent: bool) -> list[asyncio.Task[OcrPage]]:
    """Ask for pages of these numbers; returns once all are running or waiting."""
    asked = engine.status().queued + engine.status().running + len(pages)
    tasks = [asyncio.create_task(engine.recognise(numbered(page), is_urgent=is_urgent)) for page in pages]
    await until(lambda: engine.status().queued + engine.status().running == asked)
    return tasks


def numbered(page: int) -> PageRaster:
    return PageRaster(1, 1, bytes([page, 0, 0]))


async def test_an_urgent_page_is_the_next_one_read_although_the_line_of_a_scan_is_full() -> None:
    reader = GatedReader(open_gate=False)
    engine = pool(source("first", lambda: reader), queue=4)
    scan = await line_up(engine, range(5), is_urgent=False)
    await until(lambda: reader.entered == 1)
    with pytest.raises(Overloaded):
        await engine.recognise(numbered(5))
    urgent = await line_up(engine, (100, 101), is_urgent=True)
    reader.gate.set()
    await asyncio.gather(*scan, *urgent)
    assert [pixels[0] for pixels in reader.read_bytes] == [0, 100, 101, 1, 2, 3, 4]
    await engine.close()


async def test_the_line_of_urgent_pages_ends_too() -> None:
    reader = GatedReader(open_gate=False)
    engine = pool(source("first", lambda: reader), queue=2)
    waiting = await line_up(engine, range(3), is_urgent=True)
    with pytest.raises(Overloaded):
        await engine.recognise(PAGE, is_urgent=True)
    reader.gate.set()
    assert await asyncio.gather(*waiting) == [EMPTY] * 3
    await engine.close()


async def test_urgent_pages_without_end_let_others_come_between() -> None:
    reader = GatedReader(open_gate=False)
    engine = pool(source("first", lambda: reader), queue=50)
    scan = await line_up(engine, range(3), is_urgent=False)
    urgent = await line_up(engine, range(100, 140), is_urgent=True)
    reader.gate.set()
    await asyncio.gather(*scan, *urgent)
    read = [pixels[0] for pixels in reader.read_bytes]
    assert (read.index(1), read.index(2)) == (MAX_OVERTAKES + 1, 2 * MAX_OVERTAKES + 2)
    await engine.close()


async def test_who_stands_in_line_is_told_of_each_page_that_gets_a_place_and_who_has_one_is_not() -> None:
    reader = StepwiseReader()
    engine = reader.engine(threads=1)
    works, pages = [NotedWork() for _ in range(3)], list[asyncio.Task[OcrPage]]()
    for number, work in enumerate(works):
        with working_at(work):
            pages += await line_up(engine, (number,), is_urgent=False)
    assert [work.marks for work in works] == [1, 0, 0]
    reader.allow(1)
    await until(lambda: len(reader.begun) == 2)
    assert [work.marks for work in works] == [1, 1, 1]
    pages[1].cancel()
    await asyncio.wait({pages[1]})
    assert works[2].marks == 1, "the page is still being read, though nobody wants it"
    reader.allow(2)
    await pages[2]
    assert [work.marks for work in works] == [1, 1, 2]
    await engine.close()


async def test_an_urgent_page_that_is_cancelled_holds_up_nobody() -> None:
    reader = GatedReader(open_gate=False)
    engine = pool(source("first", lambda: reader))
    scan = await line_up(engine, range(2), is_urgent=False)
    (urgent,) = await line_up(engine, (100,), is_urgent=True)
    urgent.cancel()
    reader.gate.set()
    await asyncio.gather(*scan)
    assert [pixels[0] for pixels in reader.read_bytes] == [0, 1]
    await engine.close()


async def test_a_cancelled_wait_leaves_the_queue_and_is_never_read() -> None:
    reader = GatedReader(open_gate=False)
    engine = pool(source("first", lambda: reader))
    running = asyncio.create_task(engine.recognise(PAGE))
    await until(lambda: engine.status().running == 1)
    waiting = asyncio.create_task(engine.recognise(PAGE))
    await until(lambda: engine.status().queued == 1)
    waiting.cancel()
    await until(lambda: engine.status().queued == 0)
    reader.gate.set()
    await running
    await engine.close()
    assert reader.entered == 1


async def test_a_cancelled_run_keeps_its_thread_until_it_ends_and_nothing_is_lost() -> None:
    reader = GatedReader(open_gate=False)
    engine = pool(source("first", lambda: reader))
    running = asyncio.create_task(engine.recognise(PAGE))
    await until(lambda: reader.entered == 1)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    following = asyncio.create_task(engine.recognise(PAGE))
    await until(lambda: engine.status().queued == 1)
    assert reader.entered == 1
    reader.gate.set()
    assert await following == EMPTY
    await engine.close()


async def test_cancelling_during_the_load_does_not_load_twice() -> None:
    gate, loads = threading.Event(), 0

    def load() -> Reader:
        nonlocal loads
        loads += 1
        assert gate.wait(10)
        return GatedReader()

    engine = pool(source("first", load), threads=2)
    first = asyncio.create_task(engine.recognise(PAGE))
    await until(lambda: loads == 1)
    first.cancel()
    second = asyncio.create_task(engine.recognise(PAGE))
    await asyncio.sleep(0.01)
    gate.set()
    assert await second == EMPTY
    assert loads == 1
    await engine.close()


@pytest.mark.parametrize(("error", "code"), [(MemoryError(), "memory"), (RuntimeError("bad node"), "internal")])
async def test_a_page_that_fails_fails_alone(error: Exception, code: str) -> None:
    reader = GatedReader()
    engine = pool(source("first", lambda: reader))
    reader.error = error
    with pytest.raises(DocumentFailure) as failure:
        await engine.recognise(PAGE)
    assert failure.value.code == code
    reader.error = None
    assert await engine.recognise(PAGE) == EMPTY
    assert (engine.status().errors, engine.status().requests) == (1, 2)
    await engine.close()


async def test_after_unloading_the_next_page_loads_the_preferred_engine_again() -> None:
    works = False
    engine = pool(source("first", lambda: GatedReader() if works else broken()), source("second", GatedReader))
    await engine.recognise(PAGE)
    await engine.unload()
    assert engine.status().state == "idle"
    works = True
    await engine.recognise(PAGE)
    assert (engine.name, engine.status().reason) == ("first", None)
    await engine.close()


async def test_closing_finishes_what_runs_and_refuses_what_waits() -> None:
    reader = GatedReader(open_gate=False)
    engine = pool(source("first", lambda: reader))
    running = asyncio.create_task(engine.recognise(PAGE))
    await until(lambda: reader.entered == 1)
    waiting = asyncio.create_task(engine.recognise(PAGE))
    await until(lambda: engine.status().queued == 1)
    closing = asyncio.create_task(engine.close())
    await until(lambda: engine.status().state == "closed")
    reader.gate.set()
    await closing
    assert await running == EMPTY
    with pytest.raises(Unavailable):
        await waiting
    with pytest.raises(Unavailable):
        await engine.recognise(PAGE)
    assert reader.entered == 1


async def test_bytes_of_the_wrong_size_are_refused() -> None:
    engine = pool(source("first", GatedReader))
    with pytest.raises(InvalidInput):
        await engine.recognise(PageRaster(2, 2, b"\x00"))
    await engine.close()


async def test_no_engine_says_that_it_is_switched_off() -> None:
    engine = open_ocr("none")
    assert engine.status().state == "disabled"
    with pytest.raises(Unavailable, match="switched off"):
        await engine.recognise(PAGE)
    await engine.close()
