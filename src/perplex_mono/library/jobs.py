"""The `delete` operation: what was hidden goes for good, from the index first, its bytes last."""

from collections.abc import Sequence

from sqlalchemy import ColumnElement, delete
from sqlmodel import col, select

from perplex_mono.errors import NotFound
from perplex_mono.library.embedding_purge import list_hashes, purge_embeddings, purge_hashes
from perplex_mono.library.index_repository import IndexRepository
from perplex_mono.library.models import Collection, Document, SearchIndex
from perplex_mono.library.repository import DocumentRepository
from perplex_mono.operations.ledger import Claim, Ledger
from perplex_mono.storage.blobs import BlobStore
from perplex_mono.storage.database import Database
from perplex_mono.storage.starting import Starting
from perplex_mono.storage.vectors import VectorStore
from perplex_mono.telemetry.failpoints import failpoint

BATCH_DOCUMENTS = 200
BATCH_CHUNKS = 2000


class DeleteHandler:
    """Runs `delete` operations. Every step can be repeated, so an interrupted one is simply run again."""

    def __init__(self, database: Database, ledger: Ledger, blobs: BlobStore, vectors: Starting[VectorStore]) -> None:
        self._database = database
        self._ledger = ledger
        self._blobs = blobs
        self._vectors = vectors

    async def run(self, claim: Claim) -> None:
        """Purge an index, some documents with their attachments, all that a source made, or a collection."""
        vectors = await self._vectors.wait()
        if "index_id" in claim.params:
            await self._remove_index(claim, vectors, str(claim.params["index_id"]))
            await purge_embeddings(self._database)
        else:
            await self._remove_documents(claim, vectors)
        await self._ledger.complete(claim)

    async def _remove_documents(self, claim: Claim, vectors: VectorStore) -> None:
        roots = _roots(claim)
        while documents := await self._hidden(claim, roots):
            for index in await self._indexes(claim):
                try:
                    await vectors.delete_documents(index.table_name, [document.id for document in documents])
                except NotFound:
                    continue
            failpoint("mid_delete")
            await self._purge(claim, documents)
        if roots is None:
            await self._remove_collection(claim, vectors)

    async def _hidden(self, claim: Claim, roots: ColumnElement[bool] | None) -> Sequence[Document]:
        """The next few documents with their attachments, or of the collection; parents come before their children."""
        async with self._database.read() as session:
            if roots is not None:
                hidden = select(Document.id).where(roots, Document.status == "deleting").limit(BATCH_DOCUMENTS)
                return await DocumentRepository(session).list_families((await session.exec(hidden)).all())
            query = (
                select(Document)
                .where(Document.collection_id == claim.collection_id)
                .order_by(col(Document.depth).desc(), col(Document.id))
                .limit(BATCH_DOCUMENTS)
            )
            return list(reversed((await session.exec(query)).all()))

    async def _indexes(self, claim: Claim) -> Sequence[SearchIndex]:
        async with self._database.read() as session:
            return await IndexRepository(session).list_indexes(claim.collection_id)

    async def _purge(self, claim: Claim, documents: Sequence[Document]) -> None:
        """Rows, and the bytes nothing refers to any more; no upload can slip in between, it needs the same writer."""
        async with self._ledger.fenced(claim) as (session, operation):
            rows = [row for document in documents if (row := await session.get(Document, document.id)) is not None]
            hashes = await list_hashes(session, [row.id for row in rows])
            for sha256 in await DocumentRepository(session).purge(rows):
                self._blobs.delete(sha256)
            await purge_hashes(session, hashes)
            self._ledger.mark_checkpoint(operation)

    async def _remove_collection(self, claim: Claim, vectors: VectorStore) -> None:
        for index in await self._indexes(claim):
            await self._remove_index(claim, vectors, index.id)
        async with self._ledger.fenced(claim) as (session, _):
            await session.exec(delete(Collection).where(col(Collection.id) == claim.collection_id))

    async def _remove_index(self, claim: Claim, vectors: VectorStore, index_id: str) -> None:
        async with self._database.read() as session:
            index = await IndexRepository(session).find(index_id)
        if index is None:
            return
        await vectors.drop_table(index.table_name)
        is_empty = False
        while not is_empty:
            async with self._ledger.fenced(claim) as (session, operation):
                is_empty = await IndexRepository(session).purge_some(index.id, BATCH_CHUNKS)
                self._ledger.mark_checkpoint(operation)


def _roots(claim: Claim) -> ColumnElement[bool] | None:
    """Which documents to purge; None for every one of the collection."""
    params = claim.params
    if "source_id" in params:
        return col(Document.source_id).in_([params["source_id"]])
    ids = params.get("document_ids")
    if "document_id" in params:  # queued by an earlier version
        ids = [params["document_id"]]
    return None if ids is None else col(Document.id).in_(ids)
