"""What `/metrics` shows, in Prometheus' text form. One registry a process, handed to whoever counts something."""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import psutil
from loguru import logger
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from perplex_mono import __version__

LAG_PROBE_SECONDS = 0.05
MEMORY_SECONDS = 1.0
QUEUE_TIMEOUT_SECONDS = 2.0
_LAG_BUCKETS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)


@dataclass(frozen=True)
class QueueFigures:
    """The documents that are not finished; `work_seconds` is an estimate, None until there is one."""

    documents: int
    work_seconds: float | None
    oldest_seconds: float


class Metrics:
    """Every instrument of the product; label values are bounded."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        registry = self._registry
        self.application = Gauge("application_info", "What runs", ["version"], registry=registry)
        self.http_requests = Counter(
            "http_requests", "Requests answered", ["method", "endpoint", "status"], registry=registry
        )
        self.http_request_seconds = Histogram(
            "http_request_duration_seconds", "Time to answer", ["method", "endpoint"], registry=registry
        )
        self.sockets = Gauge("active_websocket_connections", "Open feeds", registry=registry)
        self.operations_running = Gauge("operations_running", "Operations being worked at", registry=registry)
        self.queue_documents = Gauge("queue_documents", "Documents waiting or being worked at", registry=registry)
        self.queue_work_seconds = Gauge(
            "queue_work_seconds", "Estimated time these take; NaN until documents were measured", registry=registry
        )
        self.queue_oldest_seconds = Gauge(
            "queue_oldest_seconds", "How long the first of those not begun has waited", registry=registry
        )
        self.ocr_pages = Counter(
            "ocr_pages", "Pages that OCR read; pages known from before do not count", registry=registry
        )
        self.embedded_texts = Counter(
            "embedded_texts",
            "Chunks whose vector was computed; those known from before do not count",
            registry=registry,
        )
        self.scanned_files = Counter(
            "scanned_files", "Files that scans of folders came by, by what they found", ["finding"], registry=registry
        )
        self.loop_lag = Histogram(
            "event_loop_lag_seconds", "How late the event loop is", buckets=_LAG_BUCKETS, registry=registry
        )
        self.resident_bytes = Gauge("process_resident_memory_bytes", "Resident memory", registry=registry)
        self.application.labels(__version__).set(1)
        self._process = psutil.Process()
        self._memory_bytes = 0
        self._memory_read_at = float("-inf")
        self._count_queue: Callable[[], Awaitable[QueueFigures]] | None = None

    def count_queue_with(self, count: Callable[[], Awaitable[QueueFigures]]) -> None:
        """Whom to ask about the queue."""
        self._count_queue = count

    async def refresh(self) -> None:
        """Count anew what is counted only when somebody looks; NaN where that cannot be done now."""
        if self._count_queue is None:
            return
        try:
            async with asyncio.timeout(QUEUE_TIMEOUT_SECONDS):
                figures = await self._count_queue()
        except Exception as error:
            logger.warning("metrics.queue_not_counted", reason=str(error) or type(error).__name__)
            for gauge in (self.queue_documents, self.queue_work_seconds, self.queue_oldest_seconds):
                gauge.set(math.nan)
            return
        self.queue_documents.set(figures.documents)
        self.queue_work_seconds.set(math.nan if figures.work_seconds is None else figures.work_seconds)
        self.queue_oldest_seconds.set(figures.oldest_seconds)

    def render(self) -> bytes:
        """The exposition text, as of now."""
        self.resident_bytes.set(self.resident_memory())
        return generate_latest(self._registry)

    def resident_memory(self) -> int:
        """Bytes of memory this process held at most a second ago: asking the kernel costs more than a health check."""
        now = time.monotonic()
        if now - self._memory_read_at > MEMORY_SECONDS:
            self._memory_bytes, self._memory_read_at = self._read_memory(), now
        return self._memory_bytes

    def _read_memory(self) -> int:
        return int(self._process.memory_info().rss)

    async def watch_loop(self) -> None:
        """Measure how late the event loop wakes us, until cancelled."""
        while True:
            due = time.perf_counter() + LAG_PROBE_SECONDS
            await asyncio.sleep(LAG_PROBE_SECONDS)
            self.loop_lag.observe(max(0.0, time.perf_counter() - due))
