"""Reads and writes of sources and their files; every function works inside the caller's transaction."""

from collections.abc import Collection as Items
from collections.abc import Sequence

from sqlalchemy import ColumnElement, Integer, and_, cast, delete, update
from sqlmodel import col, func, select
from sqlmodel.ext.asyncio.session import AsyncSession

from perplex_mono.errors import NotFound
from perplex_mono.library.models import Collection, Document
from perplex_mono.operations.models import FINAL_STATES, Operation
from perplex_mono.sources.models import FileStatus, Source, SourceFile


class SourceRepository:
    """Sources, in one session."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def get(self, source_id: str, collection_id: str) -> Source:
        """The collection's source. Raises `NotFound`."""
        source = await self._session.get(Source, source_id)
        if source is None or source.collection_id != collection_id:
            raise NotFound("source", source_id)
        return source

    async def find_by_path(self, collection_id: str, path: str) -> Source | None:
        """The collection's source of that folder."""
        query = select(Source).where(Source.collection_id == collection_id, Source.path == path)
        return (await self._session.exec(query)).first()

    async def list_page(self, collection_id: str, limit: int, after: str | None) -> Sequence[Source]:
        """Oldest first, at most `limit`, after the id `after`."""
        query = select(Source).where(Source.collection_id == collection_id)
        if after is not None:
            query = query.where(col(Source.id) > after)
        return (await self._session.exec(query.order_by(col(Source.id)).limit(limit))).all()

    async def list_watched(self) -> Sequence[Source]:
        """Every source to watch, of collections that are not deleted."""
        living = select(Collection.id).where(col(Collection.deleted_at).is_(None))
        query = select(Source).where(col(Source.watch).is_(True), col(Source.collection_id).in_(living))
        return (await self._session.exec(query.order_by(col(Source.id)))).all()

    async def find_scan(self, source_id: str, states: Items[str]) -> Operation | None:
        """The newest scan of the source in one of these states."""
        query = select(Operation).where(
            Operation.kind == "scan",
            col(Operation.state).in_(states),
            func.json_extract(Operation.params, "$.source_id") == source_id,
        )
        return (await self._session.exec(query.order_by(col(Operation.id).desc()))).first()

    async def find_last_scan(self, source: Source) -> Operation | None:
        """The newest scan of the source, whatever became of it."""
        query = select(Operation).where(
            Operation.owner_id == source.owner_id,
            Operation.kind == "scan",
            func.json_extract(Operation.params, "$.source_id") == source.id,
        )
        return (await self._session.exec(query.order_by(col(Operation.id).desc()).limit(1))).first()

    async def delete(self, source: Source) -> None:
        """Remove the row; those of its files go with it."""
        await self._session.exec(delete(Source).where(col(Source.id) == source.id))

    async def list_unfinished_scans(self, source_id: str) -> Sequence[Operation]:
        """The scans of the source that are not final."""
        query = select(Operation).where(
            Operation.kind == "scan",
            col(Operation.state).not_in(FINAL_STATES),
            func.json_extract(Operation.params, "$.source_id") == source_id,
        )
        return (await self._session.exec(query)).all()


class SourceFileRepository:
    """The files of one source, in one session."""

    def __init__(self, session: AsyncSession, source_id: str) -> None:
        self._session = session
        self._source_id = source_id

    async def find(self, path: bytes) -> SourceFile | None:
        """The file at this path."""
        return await self._session.get(SourceFile, (self._source_id, path))

    async def list_between(
        self, after: bytes, until: bytes | None, limit: int
    ) -> Sequence[tuple[SourceFile, str | None]]:
        """Files with a path in `(after, until]`, in order, each with its document's status if there is one."""
        query = (
            select(SourceFile, Document.status)
            .outerjoin(Document, col(Document.id) == col(SourceFile.document_id))
            .where(SourceFile.source_id == self._source_id, col(SourceFile.path) > after)
        )
        if until is not None:
            query = query.where(col(SourceFile.path) <= until)
        return (await self._session.exec(query.order_by(col(SourceFile.path)).limit(limit))).all()

    async def list_identical(self, identities: Items[str]) -> Sequence[SourceFile]:
        """Files that had these devices and inodes."""
        query = select(SourceFile).where(
            SourceFile.source_id == self._source_id, col(SourceFile.identity).in_(identities)
        )
        return (await self._session.exec(query)).all()

    async def list_of_content(self, collection_id: str, hashes: Items[str]) -> Sequence[SourceFile]:
        """Files that stand for a document of the collection with these bytes."""
        query = (
            select(SourceFile)
            .join(Document, col(Document.id) == col(SourceFile.document_id))
            .where(
                SourceFile.source_id == self._source_id,
                Document.collection_id == collection_id,
                col(Document.sha256).in_(hashes),
            )
        )
        return (await self._session.exec(query)).all()

    async def list_page(
        self, status: FileStatus | None, limit: int, after: bytes
    ) -> Sequence[tuple[SourceFile, Document | None]]:
        """Files by path, at most `limit`, past the path `after`, each with its document if there is one.

        `document` are all that were not skipped, `failed` those of them whose document failed.
        """
        query = (
            select(SourceFile, Document)
            .outerjoin(Document, col(Document.id) == col(SourceFile.document_id))
            .where(SourceFile.source_id == self._source_id, col(SourceFile.path) > after)
        )
        if status == "skipped":
            query = query.where(col(SourceFile.skip_reason).is_not(None))
        elif status is not None:
            query = query.where(col(SourceFile.skip_reason).is_(None))
        if status == "failed":
            query = query.where(Document.status == "failed")
        return (await self._session.exec(query.order_by(col(SourceFile.path)).limit(limit))).all()

    async def count(self) -> tuple[int, int]:
        """How many files there are, and how many of them were skipped."""
        query = select(func.count(), func.count(col(SourceFile.skip_reason))).where(
            SourceFile.source_id == self._source_id
        )
        files, skipped = (await self._session.exec(query)).one()
        return files, skipped

    async def count_failed(self) -> int:
        """How many files were taken and have a document that failed."""
        query = (
            select(func.count())
            .select_from(SourceFile)
            .join(Document, col(Document.id) == col(SourceFile.document_id))
            .where(
                SourceFile.source_id == self._source_id,
                col(SourceFile.skip_reason).is_(None),
                Document.status == "failed",
            )
        )
        return (await self._session.exec(query)).one()

    async def mark_missing(self, paths: Items[bytes], *, is_missing: bool) -> None:
        """These are not there any more, or are again; missing ones go at the end of a scan that finds them nowhere."""
        here = (col(SourceFile.source_id) == self._source_id) & col(SourceFile.path).in_(paths)
        await self._session.exec(update(SourceFile).where(here).values(is_missing=is_missing))

    async def list_missing(self, limit: int) -> Sequence[SourceFile]:
        """Some of the files that are not there any more."""
        query = select(SourceFile).where(SourceFile.source_id == self._source_id, col(SourceFile.is_missing).is_(True))
        return (await self._session.exec(query.limit(limit))).all()

    async def count_missing_elsewhere(self, devices: Items[int]) -> tuple[int, bytes | None]:
        """How many missing files lay on other devices than these, and the first one's path."""
        query = select(func.count(), func.min(SourceFile.path)).where(self._is_missing_elsewhere(devices))
        count, first = (await self._session.exec(query)).one()
        return count, first

    async def keep_missing_elsewhere(self, devices: Items[int]) -> None:
        """The missing files that lay on other devices than these are not said to be missing any more."""
        kept = update(SourceFile).where(self._is_missing_elsewhere(devices)).values(is_missing=False)
        await self._session.exec(kept)

    def _is_missing_elsewhere(self, devices: Items[int]) -> ColumnElement[bool]:
        identity = col(SourceFile.identity)
        device = cast(func.substr(identity, 1, func.instr(identity, ":") - 1), Integer)
        return and_(
            col(SourceFile.source_id) == self._source_id,
            col(SourceFile.is_missing).is_(True),
            identity != "",
            device.not_in(devices),
        )
