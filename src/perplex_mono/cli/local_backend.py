"""The commands' work without a server: the data directory is opened in this process, and the pipeline runs in it."""

import asyncio
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import TextIO, cast

import msgspec

from perplex_mono.answers.schemas import Answer, AnswerRequest
from perplex_mono.backups.schemas import BackupAccepted, BackupView
from perplex_mono.cli.account_backends import LocalAccounts
from perplex_mono.cli.source_file import SourceFile
from perplex_mono.cli.terminal import notices
from perplex_mono.container import Container, open_container
from perplex_mono.errors import PerplexError, Unavailable
from perplex_mono.library.index_schemas import IndexActivated, IndexList, ReindexAccepted, Reindexing
from perplex_mono.library.media_types import sniff
from perplex_mono.library.schemas import CollectionPage, DocumentView, OperationAccepted, UploadAccepted
from perplex_mono.library.service import ReceivedFile
from perplex_mono.operations.schemas import (
    Action,
    Envelope,
    EventPage,
    OperationPage,
    OperationView,
    OwnedOperation,
    OwnedOperationPage,
)
from perplex_mono.search.schemas import SearchRequest, SearchResponse
from perplex_mono.settings import LoggingSettings, Settings
from perplex_mono.sources.schemas import NewSource, ScanAccepted, SourcePage, SourceView
from perplex_mono.storage.blobs import BUFFER_BYTES, read_chunks
from perplex_mono.telemetry.logs import configure_logging
from perplex_mono.web.callers import LOCAL_CALLER, LOCAL_USER

LIST_PAGE = 50
EVENT_PAGE = 1000
START_POLL_SECONDS = 0.05


@asynccontextmanager
async def open_local_backend(settings: Settings) -> AsyncIterator["LocalBackend"]:
    """The opened data directory; closed in order at the end, unfinished work waits there for the next process."""
    configure_logging(_quiet(settings.logging), cast("TextIO", _StandardError()))
    async with AsyncExitStack() as stack:
        with notices().status(f"Opening {settings.data_directory} …"):
            container = await stack.enter_async_context(open_container(settings))
        yield LocalBackend(container)


class LocalBackend:
    """A `Backend` over the services themselves, as the local user."""

    outlives_command = False

    def __init__(self, container: Container) -> None:
        self._container = container
        self.accounts = LocalAccounts(container)

    @property
    def place(self) -> str:
        return f"the data directory '{self._container.settings.data_directory}'"

    async def collections(self, cursor: str | None) -> CollectionPage:
        return await self._container.collections.list_collections(LOCAL_USER, limit=200, cursor=cursor)

    async def upload(self, collection_id: str, files: Sequence[SourceFile], tags: Sequence[str]) -> UploadAccepted:
        await self._container.documents.require_room(collection_id, LOCAL_USER)
        received: list[ReceivedFile] = []
        try:
            for file in files:
                received.append(await self._receive(file.rewind()))  # noqa: PERF401  # kept one by one for the cleanup
            return await self._container.documents.add(collection_id, LOCAL_USER, received, tags=tags)
        finally:
            for file_received in received:
                file_received.blob.discard()

    async def document(self, document_id: str) -> DocumentView:
        return await self._container.documents.get(document_id, LOCAL_USER)

    async def media_type(self, document_id: str) -> str:
        return (await self.document(document_id)).media_type

    async def operations(self, state: str | None) -> OperationPage:
        return await self._container.operations.list_operations(
            LOCAL_USER, state=state, kind=None, collection_id=None, limit=LIST_PAGE, cursor=None
        )

    async def operation(self, operation_id: str) -> OperationView:
        return await self._container.operations.get(operation_id, LOCAL_USER)

    async def act(self, action: Action, operation_id: str) -> OperationView:
        return await self._container.operations.act(action, operation_id, LOCAL_USER)

    async def all_operations(self, state: str | None) -> OwnedOperationPage:
        return await self._container.oversight.list_operations(
            owner_id=None, state=state, kind=None, limit=LIST_PAGE, cursor=None
        )

    async def act_on_any(self, action: Action, operation_id: str) -> OwnedOperation:
        return await self._container.oversight.act(action, operation_id, LOCAL_CALLER, address="")

    async def retry_document(self, document_id: str) -> OperationAccepted:
        return await self._container.documents.retry(document_id, LOCAL_USER)

    async def events(self, operation_id: str, after: int) -> EventPage:
        return await self._container.operations.events(operation_id, LOCAL_USER, after=after, limit=EVENT_PAGE)

    def live(self, operation_id: str, after: int) -> AsyncIterator[Envelope]:
        return self._container.feeds.follow(LOCAL_USER, operation_id, after=after)

    async def indexes(self, collection_id: str) -> IndexList:
        return await self._container.indexes.list_indexes(collection_id, LOCAL_USER)

    async def reindex(self, collection_id: str, wanted: Reindexing) -> ReindexAccepted:
        return await self._container.indexes.reindex(collection_id, LOCAL_USER, wanted)

    async def activate(self, collection_id: str, index_id: str) -> IndexActivated:
        return await self._container.indexes.activate(collection_id, index_id, LOCAL_USER)

    async def sources(self, collection_id: str, cursor: str | None) -> SourcePage:
        return await self._container.sources.list_sources(collection_id, LOCAL_USER, limit=200, cursor=cursor)

    async def add_source(self, collection_id: str, new: NewSource) -> SourceView:
        return await self._container.sources.add(collection_id, LOCAL_USER, new)

    async def scan_source(self, collection_id: str, source_id: str) -> ScanAccepted:
        return await self._container.sources.scan(collection_id, source_id, LOCAL_USER)

    async def remove_source(self, collection_id: str, source_id: str) -> OperationAccepted:
        return await self._container.sources.delete(collection_id, source_id, LOCAL_USER)

    async def start_backup(self, *, include_secrets: bool) -> BackupAccepted:
        return await self._container.backups.start(LOCAL_CALLER, include_secrets=include_secrets)

    async def backup(self, backup_id: str) -> BackupView:
        return await self._container.backups.get(backup_id)

    async def backup_chunks(self, backup_id: str) -> AsyncIterator[bytes]:
        async for chunk in read_chunks(await self._container.backups.file(backup_id, LOCAL_CALLER)):
            yield chunk

    async def delete_backup(self, backup_id: str) -> None:
        await self._container.backups.delete(backup_id, LOCAL_CALLER)

    async def search(self, request: SearchRequest) -> SearchResponse:
        await self._wait_until_searchable(request.query if request.mode != "sparse" else None)
        return await self._container.searcher.search(request, LOCAL_USER)

    async def answer(self, request: AnswerRequest) -> Answer:
        await self._wait_until_searchable(request.question)
        return await self._container.answers.answer(request, LOCAL_USER)

    async def _receive(self, file: SourceFile) -> ReceivedFile:
        async def chunks() -> AsyncIterator[bytes]:
            while data := await asyncio.to_thread(file.read, BUFFER_BYTES):
                yield data

        limit = self._container.settings.limits.max_upload_bytes
        blob = await self._container.blobs.receive_all(chunks(), limit)
        return ReceivedFile(name=file.name, media_type=sniff(blob.head, file.name), blob=blob)

    async def _wait_until_searchable(self, question: str | None) -> None:
        """Wait while index and model load. Raises `Unavailable` when the index cannot be opened.

        The model is waited for by embedding the question, which the search then finds in the cache. A model that cannot
        be loaded is no error here: the search falls back to words and warns.
        """
        vectors = self._container.vectors
        with notices().status("Loading the index and the model …"):
            while (status := vectors.status()).state != "ok":
                if status.restarts:
                    raise Unavailable("The search index", status.reason or "it cannot be opened")
                await asyncio.sleep(START_POLL_SECONDS)
            if question is not None:
                with suppress(PerplexError):
                    await self._container.embedder.embed_query(question)


class _StandardError:
    """Standard error as it is at the moment of writing: a progress bar puts itself in between while it is shown."""

    def write(self, text: str) -> int:
        return sys.stderr.write(text)

    def flush(self) -> None:
        sys.stderr.flush()


def _quiet(settings: LoggingSettings) -> LoggingSettings:
    """Warnings and worse, as text; a level that was set to something unusual is kept."""
    level = "WARNING" if settings.level == "INFO" else settings.level
    return msgspec.structs.replace(settings, level=level, format="text")
