"""Reads and writes of indexes and what they hold; every function works inside the caller's transaction."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from sqlalchemy import ColumnElement, and_, delete, exists, literal_column, not_, update
from sqlalchemy.dialects.sqlite import insert
from sqlmodel import col, func, select
from sqlmodel.ext.asyncio.session import AsyncSession

from perplex_mono.errors import NotFound
from perplex_mono.library.models import Chunk, Collection, Document, IndexEntry, SearchIndex
from perplex_mono.storage.identity import utc_now


class IndexRepository:
    """Indexes in one session."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def get(self, index_id: str) -> SearchIndex:
        """The index row. Raises `NotFound`."""
        index = await self._session.get(SearchIndex, index_id)
        if index is None:
            raise NotFound("index", index_id)
        return index

    async def find(self, index_id: str) -> SearchIndex | None:
        """The index row, if it still exists."""
        return await self._session.get(SearchIndex, index_id)

    async def active_indexes(self, collections: Sequence[Collection]) -> Mapping[str, SearchIndex]:
        """The index that each collection is searched by, by the collection's id."""
        wanted = [collection.active_index_id for collection in collections]
        query = select(SearchIndex).where(col(SearchIndex.id).in_(wanted))
        return {index.collection_id: index for index in (await self._session.exec(query)).all()}

    async def list_indexes(self, collection_id: str | None = None) -> Sequence[SearchIndex]:
        """The indexes of one collection, or all; the newest last."""
        query = select(SearchIndex).order_by(col(SearchIndex.id))
        if collection_id is not None:
            query = query.where(SearchIndex.collection_id == collection_id)
        return (await self._session.exec(query)).all()

    async def list_expired(self, before: datetime) -> Sequence[SearchIndex]:
        """Retired indexes put aside before then, without those in which an active one's documents are still found."""
        needed = select(Collection.fallback_index_id).where(col(Collection.fallback_index_id).is_not(None))
        query = select(SearchIndex).where(
            SearchIndex.state == "retired",
            col(SearchIndex.retired_at) < before,
            col(SearchIndex.id).not_in(needed),
        )
        return (await self._session.exec(query)).all()

    async def count_documents(self, index_ids: Sequence[str]) -> Mapping[str, tuple[int, int]]:
        """Ready documents and their chunks in each index."""
        query = (
            select(IndexEntry.index_id, func.count(), func.sum(IndexEntry.chunk_count))
            .join(Document, col(Document.id) == col(IndexEntry.document_id))
            .where(col(IndexEntry.index_id).in_(index_ids), Document.status == "ready")
            .group_by(col(IndexEntry.index_id))
        )
        rows = (await self._session.exec(query)).all()
        return {index_id: (documents, chunks) for index_id, documents, chunks in rows}

    async def list_missing(self, index: SearchIndex, limit: int) -> Sequence[Document]:
        """Ready documents that the index does not hold yet, small ones first."""
        query = select(Document).where(_missing(index)).order_by(col(Document.size_bytes), col(Document.id))
        return (await self._session.exec(query.limit(limit))).all()

    async def count_missing(self, index: SearchIndex) -> int:
        """Ready documents that the index does not hold yet."""
        return (await self._session.exec(select(func.count()).select_from(Document).where(_missing(index)))).one()

    async def count_pages(self, index: SearchIndex) -> tuple[int, int]:
        """Pages of the ready documents that the index holds, and of all of them."""
        pages = func.sum(func.coalesce(Document.page_count, 1))
        ready = (Document.collection_id == index.collection_id) & (Document.status == "ready")
        total = (await self._session.exec(select(pages).where(ready))).one() or 0
        missing = (await self._session.exec(select(pages).where(_missing(index)))).one() or 0
        return total - missing, total

    async def enter(self, entries: Sequence[Mapping[str, object]]) -> None:
        """Note that indexes hold documents: rows of `IndexEntry`, which replace older ones."""
        if entries:
            statement = insert(IndexEntry).on_conflict_do_update(
                index_elements=["index_id", "document_id"], set_={"chunk_count": literal_column("excluded.chunk_count")}
            )
            connection = await self._session.connection()
            await connection.execute(statement, list(entries))

    async def leave(self, document_id: str) -> None:
        """No index holds the document any more, and none of its chunks is kept."""
        await self._session.exec(delete(IndexEntry).where(col(IndexEntry.document_id) == document_id))
        await self._session.exec(delete(Chunk).where(col(Chunk.document_id) == document_id))

    async def make_active(self, collection: Collection, index: SearchIndex) -> None:
        """Point the collection's searches at the index; the one that was active is kept as retired."""
        before = await self.find(collection.active_index_id)
        if before is not None and before.id != index.id:
            before.state, before.retired_at = "retired", utc_now()
        index.state, index.retired_at = "active", None
        collection.active_index_id = index.id
        chunk_count = (
            select(IndexEntry.chunk_count)
            .where(IndexEntry.index_id == index.id, IndexEntry.document_id == Document.id)
            .scalar_subquery()
        )
        held = and_(
            col(Document.collection_id) == collection.id, col(Document.status) == "ready", not_(_missing(index))
        )
        await self._session.flush()
        await self._session.exec(update(Document).where(held).values(chunk_count=chunk_count))

    async def purge_some(self, index_id: str, chunks: int) -> bool:
        """Remove up to so many chunks of an index, and the index itself with the last; True when it is gone.

        Its vector table must be gone already.
        """
        await self._session.exec(delete(IndexEntry).where(col(IndexEntry.index_id) == index_id))
        some = select(Chunk.id).where(Chunk.index_id == index_id).limit(chunks)
        removed = await self._session.exec(delete(Chunk).where(col(Chunk.id).in_(some)))
        if removed.rowcount == chunks:
            return False
        await self._session.exec(delete(SearchIndex).where(col(SearchIndex.id) == index_id))
        return True


def _missing(index: SearchIndex) -> ColumnElement[bool]:
    entry = exists().where(col(IndexEntry.index_id) == index.id, col(IndexEntry.document_id) == col(Document.id))
    return and_(col(Document.collection_id) == index.collection_id, col(Document.status) == "ready", not_(entry))
