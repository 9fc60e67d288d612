"""Documents, pages, chunks and vectors in figures, as they are made."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, get_args

from prometheus_client import CollectorRegistry, Counter, Histogram

from perplex_mono.errors import FailureCode
from perplex_mono.operations.metrics import LONG_BUCKETS
from perplex_mono.operations.models import EventType, Operation
from perplex_mono.telemetry.labels import within

_FAILURES: Final = frozenset(get_args(FailureCode))
_STATE_AFTER: Final[Mapping[EventType, str]] = {
    "document_started": "processing",
    "document_done": "ready",
    "document_failed": "failed",
}


class IngestionMetrics:
    """What ingestion gets done, and how long documents wait and take."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.queue_wait = Histogram(
            "queue_wait_seconds",
            "How long a document waited before work on it began",
            buckets=LONG_BUCKETS,
            registry=registry,
        )
        self.document_seconds = Histogram(
            "document_processing_seconds",
            "Time from beginning with a document to its end",
            ["outcome"],
            buckets=LONG_BUCKETS,
            registry=registry,
        )
        self.chunks = Counter("chunks", "Chunks stored", registry=registry)
        self.ocr_pages = Counter(
            "ocr_pages", "Pages that OCR read; pages known from before do not count", registry=registry
        )
        self.embedded_texts = Counter(
            "embedded_texts",
            "Chunks whose vector was computed; those known from before do not count",
            registry=registry,
        )
        self.reused_embeddings = Counter(
            "embeddings_reused", "Chunks whose vector was known from before", registry=registry
        )
        self._documents = Counter("documents", "How often documents came into a state", ["state"], registry=registry)
        self._failures = Counter("document_failures", "Documents that failed, by cause", ["code"], registry=registry)
        self._pages = Counter("pages", "Pages cut and embedded", registry=registry)

    def record(self, operation: Operation, event_type: EventType, items: Sequence[Mapping[str, Any]]) -> None:
        """Count what the journal emitted of documents; those that enter a further index are ready already."""
        if event_type == "page_done":
            self._pages.inc(sum(len(item["pages"]) for item in items))
        state = _STATE_AFTER.get(event_type)
        if state is None or operation.kind != "ingest":
            return
        self._documents.labels(state).inc(len(items))
        if state == "failed":
            for item in items:
                self._failures.labels(within(item["failure"]["code"], _FAILURES)).inc()
