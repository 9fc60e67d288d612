"""What the ledger and the document rows say while a document is ingested; every change is one fenced transaction."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial

from sqlalchemy import func, update
from sqlmodel import col
from sqlmodel.ext.asyncio.session import AsyncSession

from perplex_mono.errors import DocumentFailure, StaleLease
from perplex_mono.ingestion.indexing import ChunkStore
from perplex_mono.ingestion.metrics import IngestionMetrics
from perplex_mono.ingestion.page_store import PageStore
from perplex_mono.ingestion.pages import Page
from perplex_mono.ingestion.readers.contract import Opened
from perplex_mono.library.models import Document
from perplex_mono.operations.ledger import Claim, Ledger
from perplex_mono.operations.models import Operation
from perplex_mono.storage.database import after_commit
from perplex_mono.storage.identity import utc_now


@dataclass
class Reading:
    """What was read of a document and is not stored yet: the document's next transaction takes it along."""

    opened: Opened | None = None
    pages: list[Page] = field(default_factory=list)

    def forget(self, page_count: int) -> None:
        """What is said of the whole document and the first so many pages are stored now."""
        self.opened = None
        del self.pages[:page_count]


class DocumentStates:
    """Moves documents from received to processing, and to failed; `IndexCommitter` moves them to ready.

    Every transaction costs a small file more than its text does, so there are few: whatever was read waits in a
    `Reading` for the next one, unless reading it again would be dear.
    """

    def __init__(self, ledger: Ledger, metrics: IngestionMetrics, *, max_attempts: int) -> None:
        self._ledger = ledger
        self._metrics = metrics
        self._max_attempts = max_attempts

    async def begin(self, claim: Claim, document: Document) -> None:
        """Start an attempt, with a clean slate of chunks.

        A document in flight at `max_attempts` crashes of the server without a page in between is to blame: it fails,
        and the operation goes on, its own count of crashes reset. Raises `DocumentFailure` then.
        """
        async with self._row(claim, document) as (session, operation, row):
            row.attempts += 1
            attempts = row.attempts
            if attempts >= self._max_attempts:
                self._ledger.mark_checkpoint(operation)
            if row.status == "processing":
                await ChunkStore.clear(session, [document.id])
            else:
                waited = (utc_now() - row.updated_at).total_seconds()
                after_commit(session, partial(self._metrics.queue_wait.observe, waited))
            row.status, row.updated_at = "processing", utc_now()
            await self._ledger.emit(
                session, operation, "document_started", {"document_id": document.id, "name": document.name}
            )
        if attempts > self._max_attempts:
            raise DocumentFailure(
                "internal", f"The server ended {attempts - 1} times while reading the same page of it."
            )

    async def forgive(self, claim: Claim) -> None:
        """The attempt ends, but not by a crash: nothing that was in flight is to blame. Raises `StaleLease`."""
        async with self._ledger.fenced(claim) as (session, _):
            in_flight = (col(Document.operation_id) == claim.operation_id) & (col(Document.status) == "processing")
            fewer = func.max(0, col(Document.attempts) - 1)
            await session.exec(update(Document).where(in_flight).values(attempts=fewer))

    async def checkpoint(self, claim: Claim, document: Document, reading: Reading) -> None:
        """Store what was read, so that no attempt reads it again."""
        async with self._row(claim, document) as (session, operation, row):
            await self._store(session, operation, row, reading)

    async def put_away(self, claim: Claim, document: Document, reading: Reading) -> None:
        """Store what was read before the work was interrupted. Raises `StaleLease` when nobody wants it any more."""
        if reading.opened is None and not reading.pages:
            return
        async with self._ledger.putting_away(claim) as (session, operation):
            row = await _owned(session, operation, document)
            await self._store(session, operation, row, reading)

    @asynccontextmanager
    async def page_step(
        self, claim: Claim, document: Document, pages: Sequence[Page], reading: Reading
    ) -> AsyncIterator[AsyncSession]:
        """A transaction that ends with the news that these pages are cut and embedded."""
        async with self._row(claim, document) as (session, operation, row):
            await self._store(session, operation, row, reading)
            yield session
            numbers = [page.number for page in pages]
            await self._ledger.emit(
                session,
                operation,
                "page_done",
                {"document_id": document.id, "name": document.name, "pages": numbers, "of": row.page_count},
            )

    async def fail(self, claim: Claim, document: Document, failure: DocumentFailure, reading: Reading) -> None:
        """The document cannot be ingested; its owner can read why."""
        async with self._row(claim, document) as (session, operation, row):
            await self._store(session, operation, row, reading)
            row.status, row.updated_at = "failed", utc_now()
            row.failure_code, row.failure_message = failure.code, str(failure)
            operation.failed_count += 1
            self._ledger.mark_checkpoint(operation)
            await self._ledger.emit(
                session,
                operation,
                "document_failed",
                {
                    "document_id": document.id,
                    "name": document.name,
                    "failure": {"code": failure.code, "message": str(failure), "retryable": failure.retryable},
                },
            )

    async def _store(self, session: AsyncSession, operation: Operation, row: Document, reading: Reading) -> None:
        opened, pages = reading.opened, list(reading.pages)
        after_commit(session, partial(reading.forget, len(pages)))
        if opened is not None:
            row.media_type, row.page_count = opened.media_type, opened.page_count
            warnings = [{"document_id": row.id, "name": row.name, "message": text} for text in opened.warnings]
            await self._ledger.emit_all(session, operation, "warning", warnings)
        if pages:
            await PageStore.add(session, row.sha256, pages)
            row.attempts = 0
            self._ledger.mark_checkpoint(operation)

    @asynccontextmanager
    async def _row(self, claim: Claim, document: Document) -> AsyncIterator[tuple[AsyncSession, Operation, Document]]:
        async with self._ledger.fenced(claim) as (session, operation):
            yield session, operation, await _owned(session, operation, document)


async def _owned(session: AsyncSession, operation: Operation, document: Document) -> Document:
    """The document's row. Raises `StaleLease` when it is no longer the operation's to ingest."""
    row = await session.get(Document, document.id)
    if row is None or row.operation_id != operation.id or row.status not in ("received", "processing"):
        raise StaleLease(f"Document {document.id} was deleted or taken back.")
    return row
