"""Documents: received once, listed, changed, retried, deleted. Reading and indexing them is the pipeline's work."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy import update
from sqlmodel import col
from sqlmodel.ext.asyncio.session import AsyncSession

from perplex_mono.errors import Conflict, DataCorrupt, TooLarge
from perplex_mono.library.backlog import Backlog
from perplex_mono.library.collection_repository import CollectionRepository
from perplex_mono.library.models import Collection, Document
from perplex_mono.library.names import clean_name
from perplex_mono.library.removal import hide_documents, with_replaced
from perplex_mono.library.repository import DocumentRepository
from perplex_mono.library.requeueing import requeue
from perplex_mono.library.schemas import (
    DocumentChanges,
    DocumentPage,
    DocumentView,
    OperationAccepted,
    UploadAccepted,
    UploadedDocument,
    document_view,
)
from perplex_mono.operations.ledger import Ledger
from perplex_mono.storage.blobs import BlobStore, IncomingBlob, keep_all
from perplex_mono.storage.database import Database
from perplex_mono.storage.identity import utc_now
from perplex_mono.storage.remembered import Remembered
from perplex_mono.telemetry.failpoints import failpoint

MAX_METADATA_BYTES = 64 * 1024
KEPT_PAGES, KEPT_PAGE_BYTES = 64, 256 * 1024  # of lists, which many ask for again and again; metadata may be large
SINGLE_PRIORITY = 1  # of one document, for which somebody waits


@dataclass(frozen=True)
class ReceivedFile:
    """A file whose bytes are on disk, not yet kept."""

    name: str
    media_type: str
    blob: IncomingBlob


class DocumentService:
    """The owner's documents."""

    def __init__(
        self, database: Database, blobs: BlobStore, ledger: Ledger, backlog: Backlog, *, max_name_chars: int
    ) -> None:
        self._database = database
        self._blobs = blobs
        self._ledger = ledger
        self._backlog = backlog
        self._max_name_chars = max_name_chars
        self._pages = Remembered[DocumentPage](KEPT_PAGES)

    async def require_room(self, collection_key: str, owner_id: str) -> None:
        """Refuse an upload before its bytes: unknown collection, full queue, or a disk below its reserve."""
        self._blobs.require_space()
        async with self._database.read() as session:
            await CollectionRepository(session).get(collection_key, owner_id, "write")
            await self._backlog.require_room(session, owner_id, more=1, priority=SINGLE_PRIORITY)

    async def add(
        self,
        collection_key: str,
        owner_id: str,
        files: Sequence[ReceivedFile],
        *,
        tags: Sequence[str] = (),
        metadata: Mapping[str, Any] | None = None,
    ) -> UploadAccepted:
        """Keep the files and queue what is new, in one transaction: after this returns, nothing is lost.

        Bytes the collection already has are not ingested again, unless that attempt failed; then it is tried anew.
        Raises `NotFound`, or `Overloaded` when the queue has no room for all of them; then none is kept.
        """
        async with self._database.write() as session:
            collection = await CollectionRepository(session).get(collection_key, owner_id, "write")
            fresh, again, uploaded = await self._sort_out(session, collection, files)
            if not fresh and not again:
                return UploadAccepted(operation_id=None, documents=uploaded)
            more = len(fresh) + len(again)
            priority = SINGLE_PRIORITY if more == 1 else 0
            await self._backlog.require_room(session, owner_id, more=more, priority=priority)
            operation = await self._ledger.enqueue(
                session,
                owner_id=owner_id,
                kind="ingest",
                collection_id=collection.id,
                total=more,
                unit="pages",
                priority=priority,
            )
            for document in again:
                requeue(document, operation.id)
            for document, _ in fresh:
                document.operation_id = operation.id
                document.tags, document.meta = list(tags), dict(metadata or {})
                session.add(document)
            await session.flush()
            await asyncio.to_thread(keep_all, [blob for _, blob in fresh])
            failpoint("after_blob_rename")
        failpoint("after_commit")
        return UploadAccepted(operation_id=operation.id, documents=uploaded)

    async def get(self, document_id: str, owner_id: str) -> DocumentView:
        """The owner's document. Raises `NotFound`."""
        async with self._database.read() as session:
            return document_view(await DocumentRepository(session).get(document_id, owner_id, "read"))

    async def get_row(self, document_id: str, owner_id: str) -> Document:
        """The owner's document, for services above. Raises `NotFound`."""
        async with self._database.read() as session:
            return await DocumentRepository(session).get(document_id, owner_id, "read")

    async def list_documents(
        self,
        collection_key: str,
        owner_id: str,
        *,
        status: str | None,
        media_type: str | None,
        tag: str | None,
        limit: int,
        cursor: str | None,
    ) -> DocumentPage:
        """A page of the collection's documents, newest first."""
        key, changes = (owner_id, collection_key, status, media_type, tag, limit, cursor), self._database.changes
        known = self._pages.find(key, changes)
        if known is not None:
            return known
        async with self._database.read() as session:
            collection = await CollectionRepository(session).get(collection_key, owner_id, "read")
            rows = await DocumentRepository(session).list_page(
                collection.id, status=status, media_type=media_type, tag=tag, limit=limit + 1, before=cursor
            )
        items = [document_view(row) for row in rows[:limit]]
        page = DocumentPage(items=items, next_cursor=items[-1].id if len(rows) > limit else None)
        if len(msgspec.json.encode(page)) <= KEPT_PAGE_BYTES:
            self._pages.keep(key, changes, page)
        return page

    async def change(self, document_id: str, owner_id: str, changes: DocumentChanges) -> DocumentView:
        """Rename, tag or annotate. Raises `NotFound`."""
        async with self._database.write() as session:
            document = await DocumentRepository(session).get(document_id, owner_id, "write")
            if changes.name is not msgspec.UNSET:
                document.name = clean_name(changes.name, self._max_name_chars)
            if changes.tags is not msgspec.UNSET:
                document.tags = list(changes.tags)
            if changes.metadata is not msgspec.UNSET:
                _require_small(changes.metadata)
                document.meta = dict(changes.metadata)
            document.updated_at = utc_now()
        return document_view(document)

    async def retry(self, document_id: str, owner_id: str) -> OperationAccepted:
        """Ingest a failed or cancelled document again. Raises `NotFound`, or `Conflict` in any other state."""
        async with self._database.write() as session:
            document = await DocumentRepository(session).get(document_id, owner_id, "write")
            if document.status not in ("failed", "cancelled"):
                raise Conflict(f"The document is {document.status}; only failed or cancelled ones can be retried.")
            operation = await self._ledger.enqueue(
                session,
                owner_id=owner_id,
                kind="ingest",
                collection_id=document.collection_id,
                total=1,
                unit="pages",
                priority=SINGLE_PRIORITY,
            )
            requeue(document, operation.id)
        return OperationAccepted(operation_id=operation.id)

    async def delete(self, document_id: str, owner_id: str) -> OperationAccepted:
        """Hide the document and its attachments at once; their bytes go in the background. Raises `NotFound`.

        The version of the same file that it was to replace goes with it.
        """
        async with self._database.write() as session:
            document = await DocumentRepository(session).get(document_id, owner_id, "write")
            operation = await hide_documents(
                session, self._ledger, await with_replaced(session, document), requested_by=owner_id
            )
        return OperationAccepted(operation_id=operation.id)

    async def original(self, document_id: str, owner_id: str) -> tuple[DocumentView, str]:
        """The document and the path of its bytes. Raises `NotFound`, or `DataCorrupt` when the bytes are gone."""
        view = await self.get(document_id, owner_id)
        if not self._blobs.exists(view.sha256):
            raise DataCorrupt(f"The original of '{view.name}' is missing from the data directory.")
        return view, str(self._blobs.path(view.sha256))

    async def _sort_out(
        self, session: AsyncSession, collection: Collection, files: Sequence[ReceivedFile]
    ) -> tuple[list[tuple[Document, IncomingBlob]], list[Document], list[UploadedDocument]]:
        """New documents with their blobs, failed ones to try again, and the answer for each file."""
        fresh: dict[str, tuple[Document, IncomingBlob]] = {}
        again: list[Document] = []
        answers: list[UploadedDocument] = []
        for file in files:
            sha256, name = file.blob.sha256, clean_name(file.name, self._max_name_chars)
            known = fresh[sha256][0] if sha256 in fresh else None
            known = known or await DocumentRepository(session).find_by_content(collection.id, sha256)
            if known is None:
                media_type = await DocumentRepository(session).find_media_type(sha256)
                document = Document(
                    owner_id=collection.owner_id,
                    collection_id=collection.id,
                    operation_id="",
                    name=name,
                    sha256=sha256,
                    size_bytes=file.blob.size_bytes,
                    media_type=media_type or file.media_type,
                )
                fresh[sha256] = (document, file.blob)
                answers.append(UploadedDocument(id=document.id, name=name, status="received", duplicate_of=None))
                continue
            if sha256 not in fresh:
                await _keep_for_good(session, known)
            if sha256 not in fresh and not self._blobs.exists(sha256):
                file.blob.keep()  # the original had gone missing: here it is again
            retry = known.status in ("failed", "cancelled") and known not in again
            if retry:
                again.append(known)
            status = "received" if retry else known.status
            answers.append(UploadedDocument(id=known.id, name=name, status=status, duplicate_of=known.id))
        return list(fresh.values()), again, answers


async def _keep_for_good(session: AsyncSession, document: Document) -> None:
    """Somebody handed these bytes over: from now on no folder source removes them, and no newer version does."""
    if document.source_id is not None:
        document.source_id = None
        replacing = col(Document.replaces_id) == document.id
        await session.exec(update(Document).where(replacing).values(replaces_id=None))


def _require_small(metadata: Mapping[str, Any]) -> None:
    size = len(msgspec.json.encode(metadata))
    if size > MAX_METADATA_BYTES:
        raise TooLarge(f"The metadata has {size} bytes; at most {MAX_METADATA_BYTES} are taken.")
