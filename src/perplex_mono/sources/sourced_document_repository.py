"""Documents that files of sources stand for, or no longer do; every function works inside the caller's transaction."""

from collections.abc import Collection as Items
from collections.abc import Sequence

from sqlalchemy import exists, update
from sqlalchemy.orm import aliased
from sqlmodel import col, func, select
from sqlmodel.ext.asyncio.session import AsyncSession

from perplex_mono.library.models import Document
from perplex_mono.sources.models import SourceFile

REPLACING_STATUSES = ("received", "processing", "failed", "cancelled")


class SourcedDocumentRepository:
    """The documents that sources made, in one session."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def is_used(self, document_id: str) -> bool:
        """Whether any file that is there stands for the document."""
        query = select(SourceFile.source_id).where(
            SourceFile.document_id == document_id, col(SourceFile.is_missing).is_(False)
        )
        return (await self._session.exec(query.limit(1))).first() is not None

    async def list_used(self, document_ids: Items[str]) -> Sequence[tuple[Document, bytes]]:
        """Of these documents those that files stand for, each with the path of one."""
        query = (
            select(Document, func.min(SourceFile.path))
            .join(SourceFile, col(SourceFile.document_id) == col(Document.id))
            .where(col(Document.id).in_(document_ids), col(SourceFile.is_missing).is_(False))
            .group_by(col(Document.id))
        )
        return (await self._session.exec(query)).all()

    async def keep(self, document_id: str) -> None:
        """A file stands for the document again: no newer version takes its place."""
        replacing = col(Document.replaces_id) == document_id
        await self._session.exec(update(Document).where(replacing).values(replaces_id=None))

    async def list_orphans(self, collection_id: str, after: str, limit: int) -> Sequence[Document]:
        """Documents of sources past the id `after` that no file stands for and no new version will replace."""
        newer = aliased(Document)
        awaits = exists().where(
            col(newer.replaces_id) == col(Document.id),
            col(newer.status).in_(REPLACING_STATUSES),
            exists().where(col(SourceFile.document_id) == col(newer.id)),
        )
        query = (
            select(Document)
            .where(
                Document.collection_id == collection_id,
                col(Document.source_id).is_not(None),
                col(Document.parent_id).is_(None),
                Document.status != "deleting",
                col(Document.id) > after,
                ~exists().where(col(SourceFile.document_id) == col(Document.id)),
                ~awaits,
            )
            .order_by(col(Document.id))
            .limit(limit)
        )
        return (await self._session.exec(query)).all()

    async def hand_over(self, source_id: str) -> None:
        """Give the documents of a source that other sources have too to one of those."""
        other = (
            select(SourceFile.source_id)
            .where(SourceFile.document_id == Document.id, SourceFile.source_id != source_id)
            .limit(1)
            .scalar_subquery()
        )
        shared = exists().where(col(SourceFile.document_id) == col(Document.id), col(SourceFile.source_id) != source_id)
        await self._session.exec(
            update(Document).where(col(Document.source_id) == source_id, shared).values(source_id=other)
        )

    async def hide_all(self, source_id: str) -> int:
        """Hide every document of a source with its attachments; how many."""
        family = select(col(Document.id)).where(col(Document.source_id) == source_id).cte("family", recursive=True)
        family = family.union_all(select(col(Document.id)).join(family, col(Document.parent_id) == family.c.id))
        result = await self._session.exec(
            update(Document).where(col(Document.id).in_(select(family.c.id))).values(status="deleting")
        )
        return int(result.rowcount)
