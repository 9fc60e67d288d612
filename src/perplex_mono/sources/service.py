"""The folders that the owner's collections follow: added, listed, scanned, removed."""

import asyncio
import base64
import binascii
from functools import partial

from loguru import logger
from sqlmodel.ext.asyncio.session import AsyncSession

from perplex_mono.errors import Conflict, InvalidInput, NotFound
from perplex_mono.library.collection_repository import CollectionRepository
from perplex_mono.library.models import Collection
from perplex_mono.library.schemas import OperationAccepted
from perplex_mono.operations.ledger import Ledger
from perplex_mono.operations.models import Operation
from perplex_mono.operations.repository import OperationRepository
from perplex_mono.operations.service import OperationService
from perplex_mono.sources.folders import AllowedFolders
from perplex_mono.sources.globs import find_fault
from perplex_mono.sources.models import FileStatus, Source
from perplex_mono.sources.repository import SourceFileRepository, SourceRepository
from perplex_mono.sources.schemas import (
    FileCounts,
    NewSource,
    ScanAccepted,
    SourceFilePage,
    SourcePage,
    SourceView,
    file_view,
    source_view,
)
from perplex_mono.sources.sourced_document_repository import SourcedDocumentRepository
from perplex_mono.sources.walking import printable
from perplex_mono.storage.database import Database, after_commit
from perplex_mono.web.paging import NO_CURSOR


class SourceService:
    """The owner's sources. Every method raises `NotFound` for another owner's collection or source."""

    def __init__(
        self, database: Database, ledger: Ledger, operations: OperationService, folders: AllowedFolders
    ) -> None:
        self._database = database
        self._ledger = ledger
        self._operations = operations
        self._folders = folders
        self.changed = asyncio.Event()
        """Set when sources were added or removed."""

    async def add(self, collection_key: str, owner_id: str, new: NewSource) -> SourceView:
        """Follow a folder; nothing is read before its first scan.

        Raises what `AllowedFolders.resolve` does for a folder that may not or cannot be read, `InvalidInput` for a glob
        that can match nothing in it, and `Conflict` when the collection follows it already.
        """
        for glob in (*new.include, *new.exclude):
            if (fault := find_fault(glob)) is not None:
                raise InvalidInput(printable(fault))
        path = await asyncio.to_thread(self._folders.resolve, new.directory)
        if printable(path) != path:
            raise InvalidInput("The folder's own path must be UTF-8; the names below it need not be.")
        async with self._database.write() as session:
            collection = await CollectionRepository(session).get(collection_key, owner_id, "own")
            if await SourceRepository(session).find_by_path(collection.id, path) is not None:
                raise Conflict(f"The collection follows '{path}' already.")
            source = Source(
                owner_id=owner_id,
                collection_id=collection.id,
                path=path,
                include=list(new.include),
                exclude=list(new.exclude),
                recursive=new.recursive,
                watch=new.watch,
            )
            session.add(source)
        self.changed.set()
        return source_view(source, FileCounts(0, 0, 0), None)

    async def list_sources(self, collection_key: str, owner_id: str, *, limit: int, cursor: str | None) -> SourcePage:
        """A page of the collection's sources, oldest first."""
        async with self._database.read() as session:
            collection = await CollectionRepository(session).get(collection_key, owner_id, "own")
            rows = await SourceRepository(session).list_page(collection.id, limit + 1, cursor)
            items = [await self._view(session, row) for row in rows[:limit]]
        return SourcePage(items=items, next_cursor=items[-1].id if len(rows) > limit else None)

    async def get(self, collection_key: str, source_id: str, owner_id: str) -> SourceView:
        """One source."""
        async with self._database.read() as session:
            source, _ = await self._get(session, collection_key, source_id, owner_id)
            return await self._view(session, source)

    async def list_files(
        self,
        collection_key: str,
        source_id: str,
        owner_id: str,
        *,
        status: FileStatus | None,
        limit: int,
        cursor: str | None,
    ) -> SourceFilePage:
        """A page of the source's files by path. Raises `InvalidInput` for a cursor that is none of ours."""
        after = _decode_cursor(cursor) if cursor is not None else b""
        async with self._database.read() as session:
            source, _ = await self._get(session, collection_key, source_id, owner_id)
            rows = await SourceFileRepository(session, source.id).list_page(status, limit + 1, after)
        items = [file_view(file, document) for file, document in rows[:limit]]
        more = base64.urlsafe_b64encode(rows[limit - 1][0].path).decode() if len(rows) > limit else None
        return SourceFilePage(items=items, next_cursor=more)

    async def scan(self, collection_key: str, source_id: str, owner_id: str) -> ScanAccepted:
        """Have the folder scanned, after a scan that may be running; one that waits already serves."""
        async with self._database.write() as session:
            source, _ = await self._get(session, collection_key, source_id, owner_id)
            operation = await self._queue_scan(session, source)
        return ScanAccepted(scan_id=operation.id, operation_id=operation.id)

    async def scan_by_itself(self, source_id: str) -> None:
        """As `scan`, because something changed; without effect for a source that is gone."""
        async with self._database.write() as session:
            source = await session.get(Source, source_id)
            if source is not None:
                await self._queue_scan(session, source)

    async def list_watched(self) -> list[Source]:
        """Every owner's sources that are to be watched."""
        async with self._database.read() as session:
            return list(await SourceRepository(session).list_watched())

    async def warn_of_failure(self, session: AsyncSession, operation: Operation) -> None:
        """Have the log name the folder once the failure of its scan is durable: for the ledger, which calls it."""
        if operation.kind != "scan" or operation.state not in ("failed", "dead"):
            return
        source = await session.get(Source, operation.params["source_id"])
        if source is not None:
            reason = operation.error_message
            after_commit(session, partial(logger.warning, "scan.failed", folder=source.path, reason=reason))

    async def warn_of_missing_roots(self) -> None:
        """Have the log name the roots that are no folders: a typing error shows here, or a disk that is not mounted."""
        for root in await asyncio.to_thread(self._folders.find_missing_roots):
            logger.warning("sources.root_missing", root=root, reason=f"{root!r} of sources.roots is not a folder here")

    async def require_scan(self, scan_id: str, owner_id: str) -> None:
        """Raise `NotFound` unless this is a scan of the owner's."""
        async with self._database.read() as session:
            operation = await OperationRepository(session).get(scan_id, owner_id)
        if operation.kind != "scan":
            raise NotFound("scan", scan_id)

    async def delete(self, collection_key: str, source_id: str, owner_id: str) -> OperationAccepted:
        """No longer follow the folder: documents made from it are hidden at once and go in the background.

        Its scans are cancelled. Documents that another source has too, or that somebody uploaded, stay.
        """
        async with self._database.write() as session:
            source, collection = await self._get(session, collection_key, source_id, owner_id)
            for scan in await SourceRepository(session).list_unfinished_scans(source.id):
                await self._operations.apply(session, "cancel", scan)
            documents = SourcedDocumentRepository(session)
            await documents.hand_over(source.id)
            hidden = await documents.hide_all(source.id)
            await SourceRepository(session).delete(source)
            operation = await self._ledger.enqueue(
                session,
                owner_id=owner_id,
                kind="delete",
                collection_id=collection.id,
                params={"source_id": source_id},
                total=hidden,
                unit="documents",
            )
        self.changed.set()
        return OperationAccepted(operation_id=operation.id)

    async def _queue_scan(self, session: AsyncSession, source: Source) -> Operation:
        sources = SourceRepository(session)
        waiting = await sources.find_scan(source.id, ("queued",))
        if waiting is not None:
            return waiting
        files, _ = await SourceFileRepository(session, source.id).count()
        return await self._ledger.enqueue(
            session,
            owner_id=source.owner_id,
            kind="scan",
            collection_id=source.collection_id,
            params={"source_id": source.id},
            total=files,
            unit="files",
            priority=1,
        )

    @staticmethod
    async def _get(
        session: AsyncSession, collection_key: str, source_id: str, owner_id: str
    ) -> tuple[Source, Collection]:
        collection = await CollectionRepository(session).get(collection_key, owner_id, "own")
        return await SourceRepository(session).get(source_id, collection.id), collection

    @staticmethod
    async def _view(session: AsyncSession, source: Source) -> SourceView:
        files = SourceFileRepository(session, source.id)
        counts = FileCounts(*await files.count(), await files.count_failed())
        return source_view(source, counts, await SourceRepository(session).find_last_scan(source))


def _decode_cursor(cursor: str) -> bytes:
    try:
        return base64.b64decode(cursor, altchars=b"-_", validate=True)
    except (ValueError, binascii.Error) as error:
        raise InvalidInput(NO_CURSOR) from error
