"""The search index against the truth: it holds exactly the chunks of the ready documents, readable and once each."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from loguru import logger
from sqlalchemy import exists, or_
from sqlmodel import col, select

from perplex_mono.doctor.schemas import Finding
from perplex_mono.errors import PerplexError
from perplex_mono.ingestion.indexing import load_chunks
from perplex_mono.library.models import Chunk, Collection, Document, IndexEntry, SearchIndex
from perplex_mono.library.repository import PENDING_STATUSES
from perplex_mono.storage.database import Database
from perplex_mono.storage.metrics import VectorMetrics
from perplex_mono.storage.vectors import DocumentRows, VectorStore

REBUILD_DOCUMENTS = 64


async def open_mended(
    directory: Path,
    database: Database,
    *,
    fts_language: str,
    metrics: VectorMetrics | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> VectorStore:
    """Open the vector store for a server: what a power loss took from it is back before anybody searches or writes.

    Looks only at the ends of the files, and at every row where that or the opening found damage; `tell` is told of it.
    """
    vectors = await VectorStore.open(directory, fts_language=fts_language, metrics=metrics)
    checks = IndexChecks(database, vectors)
    if await checks.is_suspect():
        tell("comparing the search index with the records, because it is damaged")
        findings = await checks.differing()
        for number, finding in enumerate(findings, 1):
            tell(f"mending the search index from the records: {finding.subject}, {number} of {len(findings)}")
            outcome = await finding.mend() if finding.mend is not None else "not repaired"
            logger.warning("index.mended", subject=finding.subject, problem=finding.problem, outcome=outcome)
        vectors.repairs.clear()
    return vectors


class IndexChecks:
    """Checks of the vector tables; whatever is wrong is rebuilt from SQLite, without OCR or a model."""

    def __init__(self, database: Database, vectors: VectorStore) -> None:
        self._database = database
        self._vectors = vectors

    async def is_suspect(self) -> bool:
        """Whether a look that reads no rows finds damage: something moved aside, made anew, cut short, or not there."""
        if self._vectors.repairs or any(not table.ok for table in await self._vectors.health()):
            return True
        held = exists().where(col(IndexEntry.index_id) == col(SearchIndex.id))
        query = select(SearchIndex.table_name).where(SearchIndex.state != "deleting", held)
        async with self._database.read() as session:
            needed = (await session.exec(query)).all()
        return not set(needed) <= set(self._vectors.table_names())

    async def differing(self) -> list[Finding]:
        """Tables that cannot be read, and documents whose rows are not their chunks."""
        findings: list[Finding] = []
        for index in await self._indexes():
            findings += await self._table(index)
        return findings

    async def moved_aside(self) -> list[Finding]:
        """What opening the tables moved aside or made anew, as any start does after a power loss."""
        return [Finding("index", "opening it", text, partial(self._note, text)) for text in list(self._vectors.repairs)]

    async def unreferenced(self) -> list[Finding]:
        """Tables that belong to no collection."""
        async with self._database.read() as session:
            known = set((await session.exec(select(SearchIndex.table_name))).all())
        return [
            Finding("index", f"table {name}", "no collection refers to it", partial(self._drop, name))
            for name in self._vectors.table_names()
            if name not in known
        ]

    async def _table(self, index: SearchIndex) -> list[Finding]:
        expected = await self._expected(index)
        name = index.table_name
        subject = f"table {name}"

        rebuild = partial(self._rebuild, index, list(expected))
        if name not in self._vectors.table_names():
            return [Finding("index", subject, "it is missing", rebuild)] if expected else []
        try:
            found = await self._vectors.verify(name)
        except PerplexError as error:
            return [Finding("index", subject, str(error), rebuild)]
        if found.error:
            return [Finding("index", subject, f"it cannot be read: {found.error}", rebuild)]
        if found.duplicate_ids:
            return [Finding("index", subject, f"{len(found.duplicate_ids)} chunks are in it twice", rebuild)]
        findings: list[Finding] = []
        pending = await self._pending(
            index
        )  # whatever is there of these, the next commit replaces or a deletion removes
        for document_id in sorted((expected.keys() | found.ids_by_document.keys()) - pending):
            wanted, there = expected.get(document_id, set()), set(found.ids_by_document.get(document_id, []))
            if wanted != there:
                problem = f"{len(there & wanted)} of its {len(wanted)} chunks are in the index"
                problem += f", and {len(there - wanted)} that are not its own" if there - wanted else ""
                mend = partial(self._mend, index, document_id)
                findings.append(Finding("index", f"document {document_id}", problem, mend))
        return findings

    async def _mend(self, index: SearchIndex, document_id: str) -> str:
        async with self._database.read() as session:
            document = await session.get(Document, document_id)
        if document is None or document.status != "ready":
            await self._vectors.delete_documents(index.table_name, [document_id])
            return "removed from the index: it is not a ready document"
        batches = await load_chunks(self._database, document_id, index)
        await self._vectors.commit_documents(index.table_name, [DocumentRows(document_id, False, batches)])
        return f"{sum(len(batch.ids) for batch in batches)} chunks put back from SQLite"

    async def _rebuild(self, index: SearchIndex, document_ids: Sequence[str]) -> str:
        await self._vectors.drop_table(index.table_name)
        await self._vectors.create_table(index.table_name, index.dimension)
        for start in range(0, len(document_ids), REBUILD_DOCUMENTS):
            group = document_ids[start : start + REBUILD_DOCUMENTS]
            rows = [
                DocumentRows(document_id, True, await load_chunks(self._database, document_id, index))
                for document_id in group
            ]
            await self._vectors.commit_documents(index.table_name, rows)
        await self._vectors.maintain(index.table_name)
        return f"rebuilt from SQLite with {len(document_ids)} documents"

    async def _note(self, text: str) -> str:
        self._vectors.repairs.remove(text)
        return "noted; what is missing because of it is rebuilt"

    async def _drop(self, name: str) -> str:
        await self._vectors.drop_table(name)
        return "removed"

    async def _indexes(self) -> Sequence[SearchIndex]:
        """Those of living collections; what a deletion is at is the deletion's."""
        living = select(Collection.id).where(col(Collection.deleted_at).is_(None))
        query = select(SearchIndex).where(col(SearchIndex.collection_id).in_(living), SearchIndex.state != "deleting")
        async with self._database.read() as session:
            return (await session.exec(query)).all()

    async def _pending(self, index: SearchIndex) -> set[str]:
        """Documents whose rows may be there or not: not ready, or not entered in an index that need not hold all."""
        unsettled = col(Document.status).in_((*PENDING_STATUSES, "deleting"))
        entered = select(IndexEntry.document_id).where(IndexEntry.index_id == index.id)
        async with self._database.read() as session:
            collection = await session.get_one(Collection, index.collection_id)
            is_whole = index.state == "active" and collection.fallback_index_id is None
            wanted = unsettled if is_whole else or_(unsettled, col(Document.id).not_in(entered))
            return set((await session.exec(select(Document.id).where(wanted))).all())

    async def _expected(self, index: SearchIndex) -> dict[str, set[str]]:
        query = (
            select(Chunk.document_id, Chunk.id)
            .join(Document, col(Document.id) == col(Chunk.document_id))
            .join(IndexEntry, col(IndexEntry.document_id) == col(Chunk.document_id))
            .where(Chunk.index_id == index.id, IndexEntry.index_id == index.id, Document.status == "ready")
        )
        expected: dict[str, set[str]] = {}
        async with self._database.read() as session:
            for document_id, chunk_id in (await session.exec(query)).all():
                expected.setdefault(document_id, set()).add(chunk_id)
        return expected
