"""Reads and writes of documents, their pages and their chunks; every function works inside the caller's transaction."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import ColumnElement, case, delete, exists, literal, update
from sqlmodel import col, func, select
from sqlmodel.ext.asyncio.session import AsyncSession

from perplex_mono.errors import NotFound
from perplex_mono.library.collection_repository import CollectionRepository, require_access
from perplex_mono.library.models import Access, Chunk, Collection, Document, IndexEntry, StoredPage
from perplex_mono.operations.models import Operation

PENDING_STATUSES = ("received", "processing")


class DocumentRepository:
    """Documents, their pages and chunks, in one session."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def get(self, document_id: str, user_id: str, access: Access) -> Document:
        """A visible document of a collection that the user may use so. Raises `NotFound`, `Forbidden`."""
        document = await self._session.get(Document, document_id)
        if document is None or document.status == "deleting":
            raise NotFound("document", document_id)
        if document.owner_id != user_id:
            collection = await self._session.get(Collection, document.collection_id)
            given = await CollectionRepository(self._session).access(collection, user_id) if collection else None
            if given is None:
                raise NotFound("document", document_id)
            require_access(given, access)
        return document

    async def find(self, document_id: str) -> Document | None:
        """Any document row."""
        return await self._session.get(Document, document_id)

    async def list_page(
        self,
        collection_id: str,
        *,
        status: str | None,
        media_type: str | None,
        tag: str | None,
        limit: int,
        before: str | None,
    ) -> Sequence[Document]:
        """Visible documents, newest first, at most `limit`, older than the id `before`."""
        query = select(Document).where(Document.collection_id == collection_id, Document.status != "deleting")
        if status is not None:
            query = query.where(Document.status == status)
        if media_type is not None:
            query = query.where(Document.media_type == media_type)
        if tag is not None:
            query = query.where(_has_tag(tag))
        if before is not None:
            query = query.where(col(Document.id) < before)
        return (await self._session.exec(query.order_by(col(Document.id).desc()).limit(limit))).all()

    async def find_by_content(self, collection_id: str, sha256: str) -> Document | None:
        """The document of the collection that already has these bytes."""
        query = select(Document).where(
            Document.collection_id == collection_id,
            Document.sha256 == sha256,
            Document.status != "deleting",
            col(Document.parent_id).is_(None),
        )
        return (await self._session.exec(query)).first()

    async def find_media_type(self, sha256: str) -> str | None:
        """What these bytes were taken for when they came first: pages are stored by bytes, so they are read one way."""
        query = select(Document.media_type).where(Document.sha256 == sha256).order_by(col(Document.id)).limit(1)
        return (await self._session.exec(query)).first()

    async def list_pending(self, operation_id: str, limit: int) -> Sequence[Document]:
        """Documents the operation has still to do, small ones first: they are soon found, and giants hold up nobody."""
        query = (
            select(Document)
            .where(Document.operation_id == operation_id, col(Document.status).in_(PENDING_STATUSES))
            .order_by(col(Document.size_bytes), col(Document.id))
            .limit(limit)
        )
        return (await self._session.exec(query)).all()

    async def count_pending(self) -> int:
        """Documents of all operations that wait or are being worked at."""
        query = select(func.count()).where(col(Document.status).in_(PENDING_STATUSES))
        return (await self._session.exec(query)).one()

    async def count_pending_of(self, user_id: str) -> int:
        """As `count_pending`, of the operations that this user began."""
        query = (
            select(func.count())
            .select_from(Document)
            .join(Operation, col(Operation.id) == col(Document.operation_id))
            .where(col(Document.status).in_(PENDING_STATUSES), Operation.owner_id == user_id)
        )
        return (await self._session.exec(query)).one()

    async def count_in_line(self) -> int:
        """Documents that wait or are being worked at, those of paused operations left out: nobody gets to them."""
        query = (
            select(func.count())
            .select_from(Document)
            .join(Operation, col(Operation.id) == col(Document.operation_id))
            .where(col(Document.status).in_(PENDING_STATUSES), col(Operation.state).in_(("queued", "running")))
        )
        return (await self._session.exec(query)).one()

    async def count_failed(self, operation_id: str) -> int:
        """Documents of the operation that failed."""
        query = select(func.count()).where(Document.operation_id == operation_id, Document.status == "failed")
        return (await self._session.exec(query)).one()

    async def count_pages(self, operation_id: str) -> tuple[int, int]:
        """Pages of the operation's settled documents, and of all of them; one that is not open yet counts as one."""
        pages = func.max(func.coalesce(Document.page_count, 1), 1)
        settled = case((col(Document.status).in_(PENDING_STATUSES), 0), else_=pages)
        query = select(func.sum(settled), func.sum(case((col(Document.status).in_(PENDING_STATUSES), 1), else_=pages)))
        done, total = (await self._session.exec(query.where(Document.operation_id == operation_id))).one()
        return done or 0, total or 0

    async def list_families(self, document_ids: Sequence[str]) -> Sequence[Document]:
        """The documents and everything attached to them, parents first."""
        family: list[Document] = []
        query = select(Document).where(col(Document.id).in_(document_ids))
        while rows := (await self._session.exec(query)).all():
            family.extend(rows)
            wave = [row.id for row in rows]
            query = select(Document).where(col(Document.parent_id).in_(wave))
        return family

    async def visible_ids(
        self,
        collection_id: str,
        *,
        document_ids: Sequence[str] | None,
        media_types: Sequence[str] | None,
        tags: Sequence[str] | None,
        created_after: datetime | None,
        created_before: datetime | None,
    ) -> list[str]:
        """Ids of ready documents that pass every given filter."""
        query = select(Document.id).where(Document.collection_id == collection_id, Document.status == "ready")
        if document_ids is not None:
            query = query.where(col(Document.id).in_(document_ids))
        if media_types is not None:
            query = query.where(col(Document.media_type).in_(media_types))
        for tag in tags or ():
            query = query.where(_has_tag(tag))
        if created_after is not None:
            query = query.where(col(Document.created_at) >= created_after)
        if created_before is not None:
            query = query.where(col(Document.created_at) < created_before)
        return list((await self._session.exec(query)).all())

    async def chunks_with_documents(self, chunk_ids: Sequence[str]) -> dict[str, tuple[Chunk, Document]]:
        """Visible chunks by id, each with its document; what was deleted meanwhile is missing."""
        query = (
            select(Chunk, Document)
            .join(Document, col(Document.id) == col(Chunk.document_id))
            .where(col(Chunk.id).in_(chunk_ids), Document.status == "ready")
        )
        return {chunk.id: (chunk, document) for chunk, document in (await self._session.exec(query)).all()}

    async def list_pages(self, sha256: str, *, first: int = 1, limit: int) -> Sequence[StoredPage]:
        """Stored pages from number `first` on, in order; the newest reader's where there are several."""
        query = (
            select(StoredPage)
            .where(StoredPage.sha256 == sha256, StoredPage.number >= first)
            .order_by(col(StoredPage.number), col(StoredPage.reader_version))
            .limit(limit)
        )
        return (await self._session.exec(query)).all()

    async def update_pending(self, operation_id: str, **values: object) -> None:
        """Set columns of the operation's documents that wait or are being worked at."""
        pending = (col(Document.operation_id) == operation_id) & col(Document.status).in_(PENDING_STATUSES)
        await self._session.exec(update(Document).where(pending).values(**values))

    async def purge_partial(self, operation_id: str) -> None:
        """Remove chunks and pages of the operation's cancelled documents, unless others have the same bytes."""
        cancelled = (Document.operation_id == operation_id, Document.status == "cancelled")
        ids = select(Document.id).where(*cancelled)
        await self._session.exec(delete(Chunk).where(col(Chunk.document_id).in_(ids)))
        hashes = select(Document.sha256).where(*cancelled)
        kept = select(Document.sha256).where(Document.status != "cancelled")
        unused = col(StoredPage.sha256).in_(hashes) & col(StoredPage.sha256).not_in(kept)
        await self._session.exec(delete(StoredPage).where(unused))

    async def purge(self, documents: Sequence[Document]) -> list[str]:
        """Remove rows of these documents and whatever nothing else refers to; returns hashes whose bytes can go.

        Runs in one write transaction, so no upload of the same bytes can come in between.
        """
        ids = [document.id for document in documents]
        hashes = {document.sha256 for document in documents}
        await self._session.exec(delete(Chunk).where(col(Chunk.document_id).in_(ids)))
        await self._session.exec(delete(IndexEntry).where(col(IndexEntry.document_id).in_(ids)))
        for document in reversed(documents):
            await self._session.delete(document)
            await self._session.flush()
        query = select(Document.sha256).where(col(Document.sha256).in_(hashes))
        unreferenced = hashes - set((await self._session.exec(query)).all())
        await self._session.exec(delete(StoredPage).where(col(StoredPage.sha256).in_(unreferenced)))
        return sorted(unreferenced)


def _has_tag(tag: str) -> ColumnElement[bool]:
    values = func.json_each(Document.tags).table_valued("value")
    return exists(select(literal(1)).select_from(values).where(values.c.value == tag))
