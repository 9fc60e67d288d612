"""The models in figures: batches and loads as they happen, and what the engines tell of themselves."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from loguru import logger
from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from perplex_mono.inference.device import memory_of
from perplex_mono.inference.embedder import EmbedderStatus
from perplex_mono.inference.ocr import OcrStatus
from perplex_mono.telemetry.labels import within

_TEXT_BUCKETS: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
_TOKEN_BUCKETS: Final = (16, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16_384)
_BATCH_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
_LOAD_BUCKETS: Final = (0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
_PAGE_BUCKETS: Final = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_DEVICES: Final = frozenset({"cpu", "cuda", "mps"})


class InferenceMetrics:
    """What the models do, told by the threads they run on."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.ocr_seconds = Histogram(
            "ocr_processing_seconds", "Time OCR took for a page", buckets=_PAGE_BUCKETS, registry=registry
        )
        self._texts = Histogram(
            "embedding_batch_texts", "Texts in a batch", ["lane"], buckets=_TEXT_BUCKETS, registry=registry
        )
        self._tokens = Histogram(
            "embedding_batch_tokens", "Tokens in a batch", ["lane"], buckets=_TOKEN_BUCKETS, registry=registry
        )
        self._seconds = Histogram(
            "embedding_batch_seconds", "Time to compute a batch", ["lane"], buckets=_BATCH_BUCKETS, registry=registry
        )
        self._load_seconds = Histogram(
            "model_load_seconds", "Time to load a model", ["component"], buckets=_LOAD_BUCKETS, registry=registry
        )
        self._load_errors = Counter("model_load_errors", "Loads that failed", ["component"], registry=registry)

    def batch(self, lane: str, *, texts: int, tokens: int, seconds: float) -> None:
        """A lane computed a batch."""
        self._texts.labels(lane).observe(texts)
        self._tokens.labels(lane).observe(tokens)
        self._seconds.labels(lane).observe(seconds)

    @contextmanager
    def loading(self, component: str) -> Iterator[None]:
        """The block loads a model; one that raises did not."""
        started = time.perf_counter()
        try:
            yield
        except BaseException:
            self._load_errors.labels(component).inc()
            raise
        self._load_seconds.labels(component).observe(time.perf_counter() - started)


class EngineMetrics(Collector):
    """What the engines tell of themselves, asked when somebody looks; several embedding models count together."""

    def __init__(
        self,
        embedders: Callable[[], Sequence[EmbedderStatus]],
        ocr: Callable[[], OcrStatus],
        registry: CollectorRegistry,
    ) -> None:
        self._embedders = embedders
        self._ocr = ocr
        registry.register(self)

    def collect(self) -> Iterator[Metric]:
        """The figures as of now."""
        statuses = self._embedders()
        yield from _embedding(statuses)
        if statuses[0].device:  # known once a model is loaded
            yield from _device(statuses[0].device)
        ocr = self._ocr()
        yield _counter("ocr_initialization", "Attempts to start OCR", ocr.init_total)
        yield _counter("ocr_initialization_errors", "Attempts to start OCR that failed", ocr.init_errors)
        yield _counter("ocr_requests", "Pages given to OCR", ocr.requests)
        yield _counter("ocr_errors", "Pages that OCR failed on", ocr.errors)
        yield GaugeMetricFamily("ocr_queue_pages", "Pages that wait for OCR", ocr.queued)


def _embedding(statuses: Sequence[EmbedderStatus]) -> Iterator[Metric]:
    def total(field: str) -> float:
        return float(sum(getattr(status, field) for status in statuses))

    yield GaugeMetricFamily("embedding_queue_texts", "Texts that wait for the model", total("queued_texts"))
    yield GaugeMetricFamily("embedding_queue_queries", "Questions that wait for the model", total("queued_queries"))
    yield GaugeMetricFamily("embedding_model_bytes", "Loaded weights; 0 when none are", total("model_bytes"))
    yield GaugeMetricFamily(
        "embedding_batch_limit_tokens", "What the next batch of documents may hold", statuses[0].batch_tokens
    )
    yield _counter("embedding_out_of_memory", "Batches divided because memory ran out", total("out_of_memory_count"))
    queries = CounterMetricFamily("embedding_queries", "Vectors of questions, by where from", labels=["source"])
    for source, field in (("computed", "queries_done"), ("cached", "queries_cached"), ("shared", "queries_shared")):
        queries.add_metric([source], total(field))
    yield queries


def _device(name: str) -> Iterator[Metric]:
    try:
        free, total = memory_of(name)
    except Exception as error:  # drivers raise kinds of their own; the other figures matter more then than ever
        logger.warning("device.memory_unknown", device=name, reason=str(error))
        free = total = math.nan
    label = [within(name.partition(":")[0], _DEVICES)]
    for metric, text, value in (
        ("device_memory_total_bytes", "Memory of the device the model runs on", total),
        ("device_memory_free_bytes", "Free memory of the device the model runs on", free),
    ):
        family = GaugeMetricFamily(metric, text, labels=["device"])
        family.add_metric(label, value)
        yield family


def _counter(name: str, documentation: str, value: float) -> CounterMetricFamily:
    family = CounterMetricFamily(name, documentation)
    family.add_metric([], value)
    return family
