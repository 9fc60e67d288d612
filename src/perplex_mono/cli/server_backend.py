"""The commands' work through a running server: what each of them asks its API for."""

import json
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Self, TypeVar
from urllib.parse import quote

import httpx
import msgspec

from perplex_mono.answers.schemas import Answer, AnswerRequest
from perplex_mono.cli.server_connection import ServerConnection
from perplex_mono.cli.source_file import SourceFile
from perplex_mono.search.schemas import SearchRequest, SearchResponse

if TYPE_CHECKING:
    from perplex_mono.backups.schemas import BackupAccepted, BackupView
    from perplex_mono.cli.account_backends import ServerAccounts
    from perplex_mono.library.index_schemas import IndexActivated, IndexList, ReindexAccepted, Reindexing
    from perplex_mono.library.schemas import CollectionPage, DocumentView, OperationAccepted, UploadAccepted
    from perplex_mono.operations.schemas import (
        Action,
        Envelope,
        EventPage,
        OperationPage,
        OperationView,
        OwnedOperation,
        OwnedOperationPage,
    )
    from perplex_mono.sources.schemas import NewSource, ScanAccepted, SourcePage, SourceView

T = TypeVar("T")
UPLOAD_SECONDS = httpx.Timeout(60.0, connect=5.0, read=600.0)  # a batch is hashed and synced before it is answered


class _MediaType(msgspec.Struct):
    """The one field of a document that showing a citation needs."""

    media_type: str


class ServerBackend:
    """A `Backend` over a connection to the server."""

    outlives_command = True

    def __init__(self, address: str, api_key: str | None = None) -> None:
        self._server = ServerConnection(address, api_key)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._server.aclose()

    @property
    def place(self) -> str:
        return f"the server at {self._server.address}"

    @property
    def accounts(self) -> "ServerAccounts":
        from perplex_mono.cli.account_backends import ServerAccounts

        return ServerAccounts(self._server)

    async def collections(self, cursor: str | None) -> "CollectionPage":
        from perplex_mono.library.schemas import CollectionPage

        return await self._server.get("/collections", CollectionPage, {"limit": 200, "cursor": cursor})

    async def upload(self, collection_id: str, files: Sequence[SourceFile], tags: Sequence[str]) -> "UploadAccepted":
        from perplex_mono.library.schemas import UploadAccepted

        return await self._server.call(
            "POST",
            f"/collections/{quote(collection_id, safe='')}/documents",
            UploadAccepted,
            files=[("files", (file.name, file.rewind(), "application/octet-stream")) for file in files],
            data={"tags": json.dumps(list(tags))} if tags else None,
            timeout=UPLOAD_SECONDS,
        )

    async def document(self, document_id: str) -> "DocumentView":
        from perplex_mono.library.schemas import DocumentView

        return await self._document(document_id, DocumentView)

    async def media_type(self, document_id: str) -> str:
        return (await self._document(document_id, _MediaType)).media_type

    async def operations(self, state: str | None) -> "OperationPage":
        from perplex_mono.operations.schemas import OperationPage

        return await self._server.get("/operations", OperationPage, {"state": state})

    async def operation(self, operation_id: str) -> "OperationView":
        from perplex_mono.operations.schemas import OperationView

        path = f"/operations/{quote(operation_id, safe='')}"
        return await self._server.get(path, OperationView, key=("operation", operation_id))

    async def act(self, action: "Action", operation_id: str) -> "OperationView":
        from perplex_mono.operations.schemas import OperationView

        path = f"/operations/{quote(operation_id, safe='')}/{action}"
        return await self._server.call("POST", path, OperationView, key=("operation", operation_id))

    async def all_operations(self, state: str | None) -> "OwnedOperationPage":
        from perplex_mono.operations.schemas import OwnedOperationPage

        return await self._server.get("/all-operations", OwnedOperationPage, {"state": state})

    async def act_on_any(self, action: "Action", operation_id: str) -> "OwnedOperation":
        from perplex_mono.operations.schemas import OwnedOperation

        path = f"/all-operations/{quote(operation_id, safe='')}/{action}"
        return await self._server.call("POST", path, OwnedOperation, key=("operation", operation_id))

    async def retry_document(self, document_id: str) -> "OperationAccepted":
        from perplex_mono.library.schemas import OperationAccepted

        path = f"/documents/{quote(document_id, safe='')}/retry"
        return await self._server.call("POST", path, OperationAccepted, key=("document", document_id))

    async def events(self, operation_id: str, after: int) -> "EventPage":
        from perplex_mono.operations.schemas import EventPage

        path = f"/operations/{quote(operation_id, safe='')}/events"
        return await self._server.get(path, EventPage, {"after": after}, key=("operation", operation_id))

    def live(self, operation_id: str, after: int) -> "AsyncIterator[Envelope]":
        return self._server.feed(f"/ws/operations/{quote(operation_id, safe='')}?after={after}")

    async def indexes(self, collection_id: str) -> "IndexList":
        from perplex_mono.library.index_schemas import IndexList

        return await self._server.get(
            f"{_collection(collection_id)}/indexes", IndexList, key=("collection", collection_id)
        )

    async def reindex(self, collection_id: str, wanted: "Reindexing") -> "ReindexAccepted":
        from perplex_mono.library.index_schemas import ReindexAccepted

        path = f"{_collection(collection_id)}/reindex"
        return await self._server.call("POST", path, ReindexAccepted, wanted)

    async def activate(self, collection_id: str, index_id: str) -> "IndexActivated":
        from perplex_mono.library.index_schemas import IndexActivated

        path = f"{_collection(collection_id)}/indexes/{quote(index_id, safe='')}/activate"
        return await self._server.call("POST", path, IndexActivated, key=("index", index_id))

    async def sources(self, collection_id: str, cursor: str | None) -> "SourcePage":
        from perplex_mono.sources.schemas import SourcePage

        parameters = {"limit": 200, "cursor": cursor}
        path = f"{_collection(collection_id)}/sources"
        return await self._server.get(path, SourcePage, parameters, key=("collection", collection_id))

    async def add_source(self, collection_id: str, new: "NewSource") -> "SourceView":
        from perplex_mono.sources.schemas import SourceView

        path = f"{_collection(collection_id)}/sources"
        return await self._server.call("POST", path, SourceView, new)

    async def scan_source(self, collection_id: str, source_id: str) -> "ScanAccepted":
        from perplex_mono.sources.schemas import ScanAccepted

        path = f"{_source(collection_id, source_id)}/scan"
        return await self._server.call("POST", path, ScanAccepted, key=("source", source_id))

    async def remove_source(self, collection_id: str, source_id: str) -> "OperationAccepted":
        from perplex_mono.library.schemas import OperationAccepted

        path = _source(collection_id, source_id)
        return await self._server.call("DELETE", path, OperationAccepted, key=("source", source_id))

    async def start_backup(self, *, include_secrets: bool) -> "BackupAccepted":
        from perplex_mono.backups.schemas import BackupAccepted

        body = {"include_secrets": include_secrets}
        return await self._server.call("POST", "/backups", BackupAccepted, json=body)

    async def backup(self, backup_id: str) -> "BackupView":
        from perplex_mono.backups.schemas import BackupView

        return await self._server.get(_backup(backup_id), BackupView, key=("backup", backup_id))

    def backup_chunks(self, backup_id: str) -> AsyncIterator[bytes]:
        return self._server.chunks(f"{_backup(backup_id)}/file")

    async def delete_backup(self, backup_id: str) -> None:
        await self._server.send("DELETE", _backup(backup_id), key=("backup", backup_id))

    async def search(self, request: SearchRequest) -> SearchResponse:
        return await self._server.call("POST", "/search", SearchResponse, request)

    async def answer(self, request: AnswerRequest) -> Answer:
        return await self._server.call("POST", "/answers", Answer, request)

    async def _document(self, document_id: str, shape: type[T]) -> T:
        return await self._server.get(f"/documents/{quote(document_id, safe='')}", shape, key=("document", document_id))


def _collection(collection_id: str) -> str:
    return f"/collections/{quote(collection_id, safe='')}"


def _source(collection_id: str, source_id: str) -> str:
    return f"{_collection(collection_id)}/sources/{quote(source_id, safe='')}"


def _backup(backup_id: str) -> str:
    return f"/backups/{quote(backup_id, safe='')}"
