"""Deletions that were promised: whatever is hidden has an operation that will remove it."""

from collections.abc import Mapping, Sequence
from functools import partial

from sqlalchemy.orm import aliased
from sqlmodel import col, or_, select

from perplex_mono.doctor.schemas import Finding
from perplex_mono.library.models import Collection, Document, SearchIndex
from perplex_mono.operations.ledger import Ledger
from perplex_mono.operations.models import Operation
from perplex_mono.storage.database import Database

PROBLEM = "it was deleted, but no operation will remove it"


class DeletionChecks:
    """Checks of what is hidden; a deletion that ended early is queued again."""

    def __init__(self, database: Database, ledger: Ledger) -> None:
        self._database = database
        self._ledger = ledger

    async def unfinished(self) -> list[Finding]:
        """Hidden collections, documents and indexes that no operation will remove."""
        live = await self._live()
        busy = {operation.collection_id for operation in live if "index_id" not in operation.params}
        dropping = {operation.params.get("index_id") for operation in live}
        collections = [row for row in await self._hidden_collections() if row.id not in busy]
        gone = {row.id for row in collections} | busy
        findings = [
            self._finding(f"collection '{row.name}' ({row.id})", row.owner_id, row.id, {}, "collections")
            for row in collections
        ]
        findings += [
            self._finding(
                f"document '{row.name}' ({row.id})",
                row.owner_id,
                row.collection_id,
                {"document_ids": [row.id]},
                "documents",
            )
            for row in await self._hidden_documents()
            if row.collection_id not in gone
        ]
        return findings + [
            self._finding(f"index {row.id}", row.owner_id, row.collection_id, {"index_id": row.id}, "indexes")
            for row in await self._hidden_indexes()
            if row.id not in dropping and row.collection_id not in gone
        ]

    async def _live(self) -> Sequence[Operation]:
        query = select(Operation).where(Operation.kind == "delete", col(Operation.state).in_(("queued", "running")))
        async with self._database.read() as session:
            return (await session.exec(query)).all()

    async def _hidden_collections(self) -> Sequence[Collection]:
        async with self._database.read() as session:
            return (await session.exec(select(Collection).where(col(Collection.deleted_at).is_not(None)))).all()

    async def _hidden_documents(self) -> Sequence[Document]:
        """Those that stand for themselves: attachments go with the document they were found in, if that goes too."""
        parent = aliased(Document)
        query = (
            select(Document)
            .outerjoin(parent, col(parent.id) == col(Document.parent_id))
            .where(Document.status == "deleting", or_(col(parent.id).is_(None), col(parent.status) != "deleting"))
        )
        async with self._database.read() as session:
            return (await session.exec(query)).all()

    async def _hidden_indexes(self) -> Sequence[SearchIndex]:
        async with self._database.read() as session:
            return (await session.exec(select(SearchIndex).where(SearchIndex.state == "deleting"))).all()

    def _finding(
        self, subject: str, owner_id: str, collection_id: str, params: Mapping[str, object], unit: str
    ) -> Finding:
        return Finding("operations", subject, PROBLEM, partial(self._again, owner_id, collection_id, params, unit))

    async def _again(self, owner_id: str, collection_id: str, params: Mapping[str, object], unit: str) -> str:
        async with self._database.write() as session:
            await self._ledger.enqueue(
                session,
                owner_id=owner_id,
                kind="delete",
                collection_id=collection_id,
                params=params,
                total=1,
                unit=unit,
            )
        return "queued; the next start of the server removes it"
