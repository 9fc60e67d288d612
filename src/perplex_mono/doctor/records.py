"""What SQLite says about itself: a sound file, no work that nobody will do, pages and chunks that are whole."""

import asyncio
from collections.abc import Sequence
from functools import partial

from sqlalchemy import exists, not_, tuple_
from sqlmodel import col, func, select
from sqlmodel.ext.asyncio.session import AsyncSession

from perplex_mono.doctor.schemas import Finding
from perplex_mono.ingestion.page_store import PageStore, undecodable
from perplex_mono.library.models import (
    Chunk,
    Collection,
    Document,
    IndexEntry,
    SearchIndex,
    StoredEmbedding,
    StoredPage,
)
from perplex_mono.library.repository import PENDING_STATUSES
from perplex_mono.library.requeueing import ingest_anew
from perplex_mono.operations.ledger import Ledger
from perplex_mono.operations.models import FINAL_STATES, Operation
from perplex_mono.storage.blobs import BlobStore
from perplex_mono.storage.database import Database

PAGES_AT_ONCE = 64


class RecordChecks:
    """Checks of the rows. Each returns what is wrong; nothing is changed before a finding is mended."""

    def __init__(self, database: Database, ledger: Ledger, blobs: BlobStore) -> None:
        self._database = database
        self._ledger = ledger
        self._blobs = blobs

    async def abandoned_documents(self) -> list[Finding]:
        """Documents that wait for an operation which has ended."""
        query = (
            select(Document.id, Document.name, Operation.state)
            .join(Operation, col(Operation.id) == col(Document.operation_id))
            .where(col(Document.status).in_(PENDING_STATUSES), col(Operation.state).in_(FINAL_STATES))
        )
        async with self._database.read() as session:
            rows = (await session.exec(query)).all()
        return [
            Finding(
                "operations",
                f"document '{name}' ({document_id})",
                f"it waits for an operation that is {state}",
                partial(self._ingest_again, document_id),
            )
            for document_id, name, state in rows
        ]

    async def mislaid_leases(self) -> list[Finding]:
        """Operations that are marked as running without a lease, or have one although they do not run."""
        is_running, has_lease = col(Operation.state) == "running", col(Operation.lease_until).is_not(None)
        async with self._database.read() as session:
            rows = (await session.exec(select(Operation).where(is_running != has_lease))).all()
        return [
            Finding(
                "operations",
                f"{row.kind} {row.id}",
                f"it is {row.state}, but {'has a' if row.lease_until else 'has no'} lease",
                partial(self._take_lease, row.id),
            )
            for row in rows
        ]

    async def broken_pages(self) -> list[Finding]:
        """Stored pages that cannot be decoded."""
        findings: list[Finding] = []
        after = ("", "", 0)
        while rows := await self._pages_after(after):
            after = (rows[-1].sha256, rows[-1].reader_version, rows[-1].number)
            broken = await asyncio.to_thread(undecodable, rows)
            findings += [
                Finding(
                    "pages",
                    f"page {page.number} of content {page.sha256[:12]}",
                    "it cannot be decoded",
                    partial(self._read_again, page.sha256, page.number) if self._blobs.exists(page.sha256) else None,
                )
                for page in broken
            ]
        return findings

    async def missing_pages(self) -> list[Finding]:
        """Ready documents of which not every page is stored: they cannot be shown whole, or indexed anew."""
        stored = (
            select(func.count(func.distinct(StoredPage.number)))
            .where(StoredPage.sha256 == Document.sha256)
            .scalar_subquery()
        )
        query = select(Document, stored).where(Document.status == "ready", stored < col(Document.page_count))
        async with self._database.read() as session:
            rows = (await session.exec(query)).all()
        return [
            self._to_ingest_again("pages", document, f"{found} of its {document.page_count} pages are stored")
            for document, found in rows
        ]

    async def incomplete_chunks(self) -> list[Finding]:
        """Ready documents whose chunks or vectors are not all there, in any index that is searched or kept."""
        vectors = (
            select(func.count())
            .select_from(Chunk)
            .join(StoredEmbedding, col(StoredEmbedding.input_hash) == col(Chunk.input_hash))
            .where(
                Chunk.document_id == Document.id,
                Chunk.index_id == SearchIndex.id,
                StoredEmbedding.model_key == SearchIndex.model_key,
            )
            .scalar_subquery()
        )
        query = (
            select(Document, IndexEntry.chunk_count, vectors)
            .join(IndexEntry, col(IndexEntry.document_id) == col(Document.id))
            .join(SearchIndex, col(SearchIndex.id) == col(IndexEntry.index_id))
            .where(Document.status == "ready", SearchIndex.state != "deleting")
        )
        async with self._database.read() as session:
            rows = (await session.exec(query)).all()
        return [
            self._to_ingest_again("chunks", document, f"{found} of its {wanted} chunks are stored with their vector")
            for document, wanted, found in rows
            if found != wanted
        ]

    async def unindexed_documents(self) -> list[Finding]:
        """Ready documents that the active index of their collection does not hold, though nothing is catching up."""
        entered = exists().where(
            col(IndexEntry.document_id) == col(Document.id), col(IndexEntry.index_id) == col(Collection.active_index_id)
        )
        query = (
            select(Document)
            .join(Collection, col(Collection.id) == col(Document.collection_id))
            .where(Document.status == "ready", col(Collection.fallback_index_id).is_(None), not_(entered))
        )
        async with self._database.read() as session:
            documents = (await session.exec(query)).all()
        return [
            self._to_ingest_again("chunks", document, "it is ready, but its collection's index does not hold it")
            for document in documents
        ]

    def _to_ingest_again(self, kind: str, document: Document, problem: str) -> Finding:
        mend = partial(self._ingest_again, document.id) if self._blobs.exists(document.sha256) else None
        return Finding(kind, f"document '{document.name}' ({document.id})", problem, mend)

    async def _take_lease(self, operation_id: str) -> str:
        async with self._database.write() as session:
            operation = await session.get_one(Operation, operation_id)
            operation.lease_until = None
            if operation.state == "running":
                operation.state = "queued"
            return f"it is {operation.state} now, without a lease"

    async def _ingest_again(self, document_id: str) -> str:
        async with self._database.write() as session:
            await self._queue(session, document_id)
        return "queued; the next start of the server ingests it from its stored pages"

    async def _queue(self, session: AsyncSession, document_id: str) -> None:
        await ingest_anew(session, self._ledger, await session.get_one(Document, document_id))

    async def _read_again(self, sha256: str, number: int) -> str:
        async with self._database.write() as session:
            await PageStore.drop(session, sha256, [number])
            ready = select(Document.id).where(Document.sha256 == sha256, Document.status == "ready")
            for document_id in (await session.exec(ready)).all():
                await self._queue(session, document_id)
        return "removed; the next start of the server reads that page again"

    async def _pages_after(self, after: tuple[str, str, int]) -> Sequence[StoredPage]:
        key = (col(StoredPage.sha256), col(StoredPage.reader_version), col(StoredPage.number))
        query = select(StoredPage).where(tuple_(*key) > tuple_(*after)).order_by(*key).limit(PAGES_AT_ONCE)
        async with self._database.read() as session:
            return (await session.exec(query)).all()
