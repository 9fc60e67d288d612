"""Queues, fairness and failures of the engine, with an arithmetic in place of weights.

Running out of memory, a broken model and not-a-number cannot be provoked in the real model, so the seam behind which
the weights live is filled with `Arithmetic`: a text of n words becomes a vector that says n.
"""

import asyncio
import contextvars
import json
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest
from loguru import logger
from opentelemetry.trace import SpanContext
from prometheus_client import CollectorRegistry

from perplex_mono.errors import ConfigurationError, InvalidInput, Overloaded, Unavailable
from perplex_mono.inference.embedder import EmbeddingMode, Vectors
from perplex_mono.inference.encoder import EncoderInput, Pause
from perplex_mono.inference.engine import TorchEmbedder
from perplex_mono.inference.fake_ocr import FakeOcrEngine
from perplex_mono.inference.metrics import EngineMetrics, InferenceMetrics
from perplex_mono.inference.model_files import describe_model
from perplex_mono.inference.model_location import find_model
from perplex_mono.inference.priority import QueryPriority
from perplex_mono.telemetry.log_lines import json_line, operation_id_var
from perplex_mono.telemetry.traces import current_span, span
from tests.figures import figure
from tests.spans import recorded_spans
from tests.timed_work import NotedWork, working_at

FILES = describe_model(find_model("bundled"))
CALLER: contextvars.ContextVar[str] = contextvars.ContextVar("caller", default="nobody")


class Arithmetic:
    """Records every batch as (mode, token counts). Fails as told, and runs only while `gate` is open."""

    device = "cpu"
    dtype = "float32"
    runtime = "arithmetic"
    model_bytes = 1
    bytes_per_token = 1

    def __init__(self) -> None:
        self.batches: list[tuple[EmbeddingMode, list[int]]] = []
        self.callers: list[str] = []
        self.loads = 0
        self.tokens_that_fit = 10**9
        self.errors: list[Exception] = []
        self.gate = threading.Event()
        self.gate.set()
        self.pauses = 0

    def load(self) -> "Arithmetic":
        self.loads += 1
        return self

    def encode(self, inputs: Sequence[EncoderInput], mode: EmbeddingMode, pause: Pause) -> Vectors:
        self.gate.wait(10)
        pause()
        lengths = [len(item.token_ids) for item in inputs]
        self.batches.append((mode, lengths))
        self.callers.append(CALLER.get())
        if self.errors:
            raise self.errors.pop(0)
        if sum(lengths) > self.tokens_that_fit:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")
        vectors = np.zeros((len(inputs), FILES.dimension), dtype=np.float32)
        for row, item in enumerate(inputs):
            vectors[row, 0] = np.nan if item.text == "poison" else len(item.text.split())
        return vectors

    def free_memory_bytes(self) -> int | None:
        return None

    def release_cached_memory(self) -> None: ...

    def document_batches(self) -> list[list[int]]:
        return [lengths for mode, lengths in self.batches if mode == "document"]


@asynccontextmanager
async def engine(model: Arithmetic, **options: Any) -> AsyncIterator[TorchEmbedder]:
    defaults: dict[str, Any] = {"queries_recent_seconds": 0.0, "retry_seconds": 0.01, "threads": 1}
    embedder = TorchEmbedder(FILES, model.load, **(defaults | options))
    await embedder.start()
    try:
        yield embedder
    finally:
        model.gate.set()
        await embedder.close()


def words(count: int, tag: str = "w") -> str:
    return " ".join([tag] * count)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110  # what is awaited happens on a model thread
            await asyncio.sleep(0.005)


async def queued(embedder: TorchEmbedder, call: Awaitable[Vectors], texts: int) -> "asyncio.Future[Vectors]":
    """Start a call and wait until so many texts are in the engine."""
    task = asyncio.ensure_future(call)
    await until(lambda: embedder.status().queued_texts >= texts)
    return task


async def test_texts_of_all_callers_share_batches_and_everyone_gets_their_own_back_in_order() -> None:
    model = Arithmetic()
    async with engine(model) as embedder:
        model.gate.clear()
        first = await queued(embedder, embedder.embed_documents(["hold"]), 1)
        await until(lambda: not embedder._documents._inbox)
        calls = [
            await queued(embedder, embedder.embed_documents([words(n), words(10 + n)]), 2 * n + 1) for n in (1, 2, 3)
        ]
        model.gate.set()
        results = await asyncio.gather(first, *calls)

    assert [result[:, 0].tolist() for result in results] == [[1], [1, 11], [2, 12], [3, 13]]
    assert model.document_batches() == [[3], [15, 14, 13, 5, 4, 3]]


async def test_batches_are_filled_to_the_token_budget_and_shrink_while_questions_are_recent() -> None:
    model = Arithmetic()
    texts = [words(48, f"w{index}") for index in range(20)]
    async with engine(model, max_batch_tokens=1024, small_batch_tokens=256, queries_recent_seconds=3600) as embedder:
        await embedder.embed_documents(texts)
        quiet = [sum(batch) for batch in model.document_batches()]
        await embedder.embed_query("anyone there?")
        model.batches.clear()
        await embedder.embed_documents(texts)

    assert max(quiet) > 900
    assert max(sum(batch) for batch in model.document_batches()) <= 256
    assert sum(len(batch) for batch in model.document_batches()) == 20


async def test_batches_follow_free_memory() -> None:
    model = Arithmetic()
    options = {"available_memory": lambda: 1_300, "memory_reserve_bytes": 1_000}
    async with engine(model, **options) as embedder:
        await embedder.embed_documents([words(48, f"w{index}") for index in range(20)])

    assert max(sum(batch) for batch in model.document_batches()) <= 300


async def test_a_question_overtakes_a_queue_of_documents_and_the_batch_already_running() -> None:
    model = Arithmetic()
    patient = QueryPriority(recent_seconds=2, max_pause_seconds=60)
    async with engine(model, max_batch_tokens=64, priority=patient) as embedder:
        model.gate.clear()
        documents = await queued(
            embedder, embedder.embed_documents([words(40, f"w{index}") for index in range(50)]), 50
        )
        question = asyncio.create_task(embedder.embed_query("urgent"))
        await until(lambda: embedder.status().queued_queries == 1)
        model.gate.set()
        await question
        await documents

    assert model.batches[0][0] == "query"
    assert len(model.batches) > 40


async def test_out_of_memory_halves_batches_until_they_fit_and_grows_back() -> None:
    model = Arithmetic()
    model.tokens_that_fit = 120
    texts = [words(20, f"w{index}") for index in range(60)]
    async with engine(model, max_batch_tokens=2000) as embedder:
        vectors = await embedder.embed_documents(texts)
        shrunk = embedder.status()
        model.tokens_that_fit = 10**9
        model.batches.clear()
        for _ in range(40):
            await embedder.embed_documents(texts)

    assert vectors[:, 0].tolist() == [20.0] * 60
    assert shrunk.out_of_memory_count > 2
    assert shrunk.batch_tokens < 200
    assert max(sum(batch) for batch in model.document_batches()) > 1000


async def test_batches_and_loads_are_counted() -> None:
    model = Arithmetic()
    model.tokens_that_fit = 120
    registry = CollectorRegistry()
    async with engine(model, max_batch_tokens=2000, metrics=InferenceMetrics(registry)) as embedder:
        await embedder.embed_documents([words(20, f"w{index}") for index in range(60)])
        await embedder.embed_query("a question")
        EngineMetrics(lambda: [embedder.status()], FakeOcrEngine().status, registry)
        assert figure(registry, "embedding_batch_texts_sum", lane="document") == 60
        assert figure(registry, "embedding_batch_texts_sum", lane="query") == 1
        divided = figure(registry, "embedding_out_of_memory_total")
        assert divided > 2
        computed = figure(registry, "embedding_batch_seconds_count", lane="document")
        assert computed + divided == len(model.document_batches())
        assert figure(registry, "embedding_queries_total", source="computed") == 1
        assert figure(registry, "embedding_model_bytes") == embedder.status().model_bytes
        assert figure(registry, "model_load_seconds_count", component="embedding") == 1
        assert figure(registry, "model_load_errors_total") == 0


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory")])
async def test_a_text_that_never_fits_fails_alone(error: Exception) -> None:
    model = Arithmetic()

    class Greedy(Arithmetic):
        def encode(self, inputs: Sequence[EncoderInput], mode: EmbeddingMode, pause: Pause) -> Vectors:
            if any(len(item.token_ids) > 200 for item in inputs):
                raise error
            return super().encode(inputs, mode, pause)

    model = Greedy()
    async with engine(model) as embedder:
        big = asyncio.create_task(embedder.embed_documents([words(230)]))
        small = asyncio.create_task(embedder.embed_documents([words(3)]))
        with pytest.raises(Unavailable, match="memory"):
            await big
        assert (await small)[0, 0] == 3
        assert embedder.status().state == "ready"


async def test_a_vector_that_is_not_a_number_fails_its_caller_only() -> None:
    model = Arithmetic()
    async with engine(model) as embedder:
        bad = asyncio.create_task(embedder.embed_documents(["fine", "poison"]))
        good = asyncio.create_task(embedder.embed_documents(["two words"]))
        with pytest.raises(Unavailable, match="not a number"):
            await bad
        assert (await good)[0, 0] == 2


async def test_fewer_vectors_than_texts_is_an_error() -> None:
    class Short(Arithmetic):
        def encode(self, inputs: Sequence[EncoderInput], mode: EmbeddingMode, pause: Pause) -> Vectors:
            return super().encode(inputs, mode, pause)[:-1]

    async with engine(Short()) as embedder:
        with pytest.raises(Unavailable, match="shape"):
            await embedder.embed_documents(["a", "b"])


async def test_a_broken_model_fails_its_callers_is_replaced_and_serves_again() -> None:
    model = Arithmetic()
    async with engine(model) as embedder:
        model.errors = [RuntimeError("illegal instruction")]
        with pytest.raises(Unavailable, match="illegal instruction"):
            await embedder.embed_documents(["a"])
        assert embedder.status().restarts == 1
        assert (await embedder.embed_documents(["b b"]))[0, 0] == 2
        assert (await embedder.embed_query("c c c"))[0] == 3
        assert (model.loads, embedder.status().state) == (2, "ready")


async def test_a_model_that_cannot_load_says_why_and_is_tried_again() -> None:
    model = Arithmetic()
    failures: list[Exception] = [ConfigurationError("there is no cuda here; there is cpu")] * 2

    def load() -> Arithmetic:
        if failures:
            raise failures.pop()
        return model.load()

    registry = CollectorRegistry()
    embedder = TorchEmbedder(FILES, load, retry_seconds=0.05, metrics=InferenceMetrics(registry))
    await embedder.start()
    await until(lambda: embedder.status().state == "failed")
    assert "no cuda" in embedder.status().reason
    with pytest.raises(ConfigurationError, match="no cuda"):
        await embedder.embed_documents(["a"])
    with pytest.raises(ConfigurationError, match="no cuda"):
        await embedder.embed_query("a")

    async def answered() -> Vectors:
        while True:
            try:
                return await embedder.embed_query("a")
            except ConfigurationError:
                await asyncio.sleep(0.02)

    assert (await asyncio.wait_for(answered(), 10))[0] == 1
    assert embedder.status().reason == ""
    assert figure(registry, "model_load_errors_total", component="embedding") == 2
    assert figure(registry, "model_load_seconds_count", component="embedding") == 1
    await embedder.close()


async def test_too_many_questions_are_refused_and_documents_wait() -> None:
    model = Arithmetic()
    async with engine(model, max_queued_queries=3, max_queued_texts=4) as embedder:
        await embedder.embed_query("warm")
        model.gate.clear()
        asked = [asyncio.create_task(embedder.embed_query(words(n))) for n in (1, 2, 3)]
        await until(lambda: embedder.status().queued_queries == 3)
        with pytest.raises(Overloaded) as refused:
            await embedder.embed_query("one too many")
        documents = [asyncio.create_task(embedder.embed_documents([words(n), words(n + 1)])) for n in (1, 2, 3, 4)]
        await until(lambda: embedder.status().queued_texts == 4)
        await asyncio.sleep(0.02)
        assert embedder.status().queued_texts == 4
        model.gate.set()
        assert [int(vector[0]) for vector in await asyncio.gather(*asked)] == [1, 2, 3]
        assert [int(vectors[1, 0]) for vectors in await asyncio.gather(*documents)] == [2, 3, 4, 5]

    assert refused.value.retry_after_seconds >= 1
    assert embedder.status().queued_texts == 0


class Stepwise(Arithmetic):
    """Computes as many batches as it is allowed to."""

    def __init__(self) -> None:
        super().__init__()
        self.allowed = threading.Semaphore(0)
        self.begun = 0

    def encode(self, inputs: Sequence[EncoderInput], mode: EmbeddingMode, pause: Pause) -> Vectors:
        self.begun += 1
        assert self.allowed.acquire(timeout=10)
        return super().encode(inputs, mode, pause)


async def test_who_stands_in_line_is_told_when_it_moves_and_who_is_served_is_not() -> None:
    model = Stepwise()
    works = first, second, third, without_room = [NotedWork() for _ in range(4)]
    calls: list[asyncio.Task[Vectors]] = []
    async with engine(model, max_batch_tokens=32, max_queued_texts=3) as embedder:
        for work, count in zip(works, (30, 29, 28, 27), strict=True):
            with working_at(work):
                calls.append(asyncio.create_task(embedder.embed_documents([words(count)])))
            await until(lambda: model.begun == 1)
        await until(lambda: embedder.status().queued_texts == 3)
        left = asyncio.create_task(embedder.embed_documents(["not wanted"]))
        await asyncio.sleep(0)
        left.cancel()
        await asyncio.wait({left})
        assert [work.marks for work in works] == [1, 0, 0, 0]

        model.allowed.release()
        await calls[0]
        await until(lambda: model.begun == 2 and without_room.marks == 1)
        assert (first.marks, third.marks) == (1, 1)
        told = second.marks
        model.allowed.release()
        await calls[1]
        await until(lambda: model.begun == 3)
        assert second.marks == told > 0, "its line has ended, and it hangs unless it is done"
        assert third.marks > 1
        model.allowed.release(2)
        await asyncio.gather(*calls)


async def test_texts_of_cancelled_callers_never_reach_the_model() -> None:
    model = Arithmetic()
    async with engine(model) as embedder:
        model.gate.clear()
        held = await queued(embedder, embedder.embed_documents(["hold"]), 1)
        await until(lambda: not embedder._documents._inbox)
        dropped = await queued(embedder, embedder.embed_documents([words(77)]), 2)
        kept = await queued(embedder, embedder.embed_documents([words(5)]), 3)
        dropped.cancel()
        await asyncio.gather(dropped, return_exceptions=True)
        model.gate.set()
        await held
        assert (await kept)[0, 0] == 5
        assert embedder.status().queued_texts == 0

    assert model.document_batches() == [[3], [7]]


async def test_equal_texts_are_computed_once() -> None:
    model = Arithmetic()
    async with engine(model) as embedder:
        vectors = await embedder.embed_documents(["a", "b b", "a", "a"])
        assert (await embedder.embed_documents([])).shape == (0, FILES.dimension)
        assert embedder.status().texts_reused == 2

    assert vectors[:, 0].tolist() == [1, 2, 1, 1]
    assert sum(len(batch) for batch in model.document_batches()) == 2


async def test_a_repeated_question_does_not_reach_the_model_and_cannot_be_altered() -> None:
    model = Arithmetic()
    async with engine(model) as embedder:
        first = await embedder.embed_query("same")
        assert await embedder.embed_query("same") is first
        with pytest.raises(ValueError, match="read-only"):
            first[0] = 7
        assert embedder.status().queries_cached == 1

    assert len(model.batches) == 1


async def test_the_callers_context_reaches_the_model_thread() -> None:
    model = Arithmetic()
    async with engine(model) as embedder:
        CALLER.set("request 7")
        await embedder.embed_documents(["a"])
        await embedder.embed_query("b")

    assert model.callers == ["request 7", "request 7"]


async def test_what_model_threads_say_names_the_operation_they_work_for() -> None:
    model = Arithmetic()
    model.tokens_that_fit = 30
    lines: list[dict[str, Any]] = []
    handler = logger.add(lambda message: lines.append(json.loads(json_line(message.record))), level="WARNING")
    token = operation_id_var.set("operation 7")
    async with engine(model) as embedder:
        await embedder.embed_documents([words(20, "a"), words(20, "b")])
        with pytest.raises(InvalidInput):
            await embedder.embed_documents(["\ud800"])
    operation_id_var.reset(token)
    logger.remove(handler)
    said = {line["event"]: line["operation_id"] for line in lines}
    assert said == dict.fromkeys(("embedding.out_of_memory", "embedding.text_refused"), "operation 7")


async def test_a_batch_is_a_span_of_its_first_caller_and_links_to_the_others(tracer: None) -> None:
    model = Arithmetic()
    callers: dict[str, SpanContext] = {}

    async def embed(embedder: TorchEmbedder, name: str, texts: int) -> None:
        with span(f"test.{name}"):
            callers[name] = current_span()
            await (await queued(embedder, embedder.embed_documents([name]), texts))

    async with engine(model) as embedder:
        model.gate.clear()
        held = await queued(embedder, embedder.embed_documents(["hold"]), 1)
        await until(lambda: not embedder._documents._inbox)
        waiting = [asyncio.create_task(embed(embedder, name, 2)) for name in ("first", "second")]
        await until(lambda: embedder.status().queued_texts == 3)
        model.gate.set()
        await asyncio.gather(held, *waiting)
    known = [(each.parent, [link.context for link in each.links]) for each in recorded_spans().named("embedding.batch")]
    first, second = callers["first"], callers["second"]
    assert any(parent in (first, second) and links in ([first], [second]) for parent, links in known)


async def test_an_idle_model_is_unloaded_and_comes_back_on_demand() -> None:
    model = Arithmetic()
    async with engine(model, idle_unload_seconds=0.1) as embedder:
        await embedder.embed_query("a")
        await until(lambda: embedder.status().state == "unloaded")
        assert (await embedder.embed_documents(["b b"]))[0, 0] == 2
        assert model.loads == 2
        await until(lambda: embedder.status().state == "unloaded")


async def test_half_a_character_is_its_callers_mistake() -> None:
    model = Arithmetic()
    async with engine(model) as embedder:
        with pytest.raises(InvalidInput):
            await embedder.embed_query("\ud800")
        assert (await embedder.embed_query("fine"))[0] == 1
        assert embedder.status().restarts == 0


async def test_closing_fails_whoever_waits_and_later_callers() -> None:
    model = Arithmetic()
    async with engine(model, max_batch_tokens=1) as embedder:
        model.gate.clear()
        waiting = await queued(embedder, embedder.embed_documents([words(2), words(3)]), 2)
        closing = asyncio.create_task(embedder.close())
        await asyncio.sleep(0.02)
        model.gate.set()
        await closing
        with pytest.raises(Unavailable, match="shutting down"):
            await waiting
        with pytest.raises(Unavailable, match="shutting down"):
            await embedder.embed_query("late")

    assert embedder.status().state == "closed"


class Meeting(Arithmetic):
    """Runs document batches only when so many threads are in the model at once."""

    def __init__(self, workers: int) -> None:
        super().__init__()
        self.meeting = threading.Barrier(workers, timeout=10)

    def encode(self, inputs: Sequence[EncoderInput], mode: EmbeddingMode, pause: Pause) -> Vectors:
        if mode == "document":
            self.meeting.wait()
        return super().encode(inputs, mode, pause)


async def test_workers_divide_one_caller_s_texts_and_compute_at_once() -> None:
    model = Meeting(2)
    async with engine(model, threads=2) as embedder:
        vectors = await embedder.embed_documents([words(50 + n) for n in range(12)])
        assert embedder.status().batches_done == 2

    assert vectors[:, 0].tolist() == [50.0 + n for n in range(12)]
    counts = [sum(batch) for batch in model.document_batches()]
    assert max(counts) <= 1.3 * min(counts)


async def test_many_callers_and_workers_lose_nothing() -> None:
    model = Arithmetic()
    model.tokens_that_fit = 700
    async with engine(model, threads=4, max_batch_tokens=1500) as embedder:
        calls = [embedder.embed_documents([words(1 + (7 * n + m) % 90) for m in range(20)]) for n in range(40)]
        results = await asyncio.gather(*calls)
        assert embedder.status().queued_texts == 0

    for n, vectors in enumerate(results):
        assert vectors[:, 0].tolist() == [1 + (7 * n + m) % 90 for m in range(20)]


async def test_a_model_broken_under_several_workers_fails_no_more_than_was_in_it() -> None:
    model = Meeting(2)
    model.errors = [RuntimeError("illegal instruction")]
    async with engine(model, threads=2) as embedder:
        first = asyncio.create_task(embedder.embed_documents([words(200 + n) for n in range(2)]))
        second = asyncio.create_task(embedder.embed_documents([words(100 + n) for n in range(2)]))
        ends = await asyncio.gather(first, second, return_exceptions=True)
        assert any(isinstance(end, Unavailable) for end in ends)
        model.meeting.abort()
        model.encode = super(Meeting, model).encode  # type: ignore[method-assign]  # one caller comes alone from here
        assert (await embedder.embed_documents(["b b"]))[0, 0] == 2
        assert embedder.status().state == "ready"


async def test_one_worker_is_enough_while_questions_are_recent() -> None:
    class Watched(Arithmetic):
        inside = most = 0

        def encode(self, inputs: Sequence[EncoderInput], mode: EmbeddingMode, pause: Pause) -> Vectors:
            self.inside += 1
            self.most = max(self.most, self.inside)
            time.sleep(0.02)
            self.inside -= 1
            return super().encode(inputs, mode, pause)

    model = Watched()
    texts = [words(100 + n) for n in range(20)]
    async with engine(model, threads=2, max_batch_tokens=512, queries_recent_seconds=3600) as embedder:
        await embedder.embed_documents(texts)
        assert model.most == 2
        await embedder.embed_query("anyone there?")
        model.most = 0
        assert (await embedder.embed_documents(texts))[:, 0].tolist() == [100.0 + n for n in range(20)]
        assert model.most == 1
