"""What waits and what is stored, in figures that are counted when somebody looks."""

import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, get_args

from prometheus_client import CollectorRegistry, Gauge
from sqlmodel import col, func, select

from perplex_mono.library.models import Document, DocumentStatus
from perplex_mono.storage.database import Database

_STATUSES: Final[tuple[str, ...]] = get_args(DocumentStatus)


@dataclass(frozen=True)
class QueueFigures:
    """The documents that are not finished; `work_seconds` is an estimate, None until there is one."""

    documents: int
    work_seconds: float | None
    oldest_seconds: float


class QueueMetrics:
    """The queue of documents."""

    def __init__(
        self, figures: Callable[[], Awaitable[QueueFigures]], registry: CollectorRegistry | None = None
    ) -> None:
        self._figures = figures
        self._documents = Gauge("queue_documents", "Documents waiting or being worked at", registry=registry)
        self._work_seconds = Gauge(
            "queue_work_seconds", "Estimated time these take; NaN until documents were measured", registry=registry
        )
        self._oldest_seconds = Gauge(
            "queue_oldest_seconds", "How long the first of those not begun has waited", registry=registry
        )
        self.forget()

    async def count(self) -> None:
        """Ask whoever knows the queue."""
        figures = await self._figures()
        self._documents.set(figures.documents)
        self._work_seconds.set(math.nan if figures.work_seconds is None else figures.work_seconds)
        self._oldest_seconds.set(figures.oldest_seconds)

    def forget(self) -> None:
        """They could not be counted."""
        for gauge in (self._documents, self._work_seconds, self._oldest_seconds):
            gauge.set(math.nan)


class LibraryMetrics:
    """Documents of everybody by status, and what those that are ready consist of. Counting reads every document."""

    def __init__(self, database: Database, registry: CollectorRegistry | None = None) -> None:
        self._database = database
        self._documents = Gauge(
            "documents_stored", "Documents in the library, counted once a minute at most", ["status"], registry=registry
        )
        self._pages = Gauge("pages_stored", "Pages of ready documents", registry=registry)
        self._chunks = Gauge("chunks_stored", "Chunks of ready documents", registry=registry)
        self._bytes = Gauge("stored_bytes", "Size of ready documents as they were received", registry=registry)
        self.forget()

    async def count(self) -> None:
        """Ask the database once for everything."""
        sums = (func.sum(column) for column in (Document.page_count, Document.chunk_count, Document.size_bytes))
        query = select(Document.status, func.count(), *sums).group_by(col(Document.status))
        async with self._database.read() as session:
            found = {row[0]: row[1:] for row in (await session.exec(query)).all()}
        for status in _STATUSES:
            self._documents.labels(status).set(found.get(status, (0,))[0])
        _, *ready = found.get("ready", (0, 0, 0, 0))
        for gauge, total in zip((self._pages, self._chunks, self._bytes), ready, strict=True):
            gauge.set(total or 0)

    def forget(self) -> None:
        """They could not be counted."""
        for status in _STATUSES:
            self._documents.labels(status).set(math.nan)
        for gauge in (self._pages, self._chunks, self._bytes):
            gauge.set(math.nan)
