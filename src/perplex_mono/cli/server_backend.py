"""The commands' work through a running server: its HTTP API and its live feeds."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Self, TypeVar
from urllib.parse import quote

import httpx
import msgspec

from perplex_mono.answers.schemas import Answer, AnswerRequest
from perplex_mono.cli.source_file import SourceFile
from perplex_mono.errors import (
    Conflict,
    Forbidden,
    InvalidInput,
    NotFound,
    Overloaded,
    PerplexError,
    StorageFull,
    TooLarge,
    Unauthenticated,
    Unavailable,
)
from perplex_mono.search.schemas import SearchRequest, SearchResponse

if TYPE_CHECKING:
    from perplex_mono.backups.schemas import BackupAccepted, BackupView
    from perplex_mono.cli.account_backends import ServerAccounts
    from perplex_mono.library.schemas import (
        CollectionPage,
        DocumentView,
        IndexActivated,
        IndexList,
        OperationAccepted,
        ReindexAccepted,
        Reindexing,
        UploadAccepted,
    )
    from perplex_mono.operations.schemas import Action, Envelope, EventPage, OperationPage, OperationView
    from perplex_mono.sources.schemas import NewSource, ScanAccepted, SourcePage, SourceView

T = TypeVar("T")
HEALTH_SECONDS = httpx.Timeout(3.0, connect=1.0)
REQUEST_SECONDS = httpx.Timeout(60.0, connect=5.0)
UPLOAD_SECONDS = httpx.Timeout(60.0, connect=5.0, read=600.0)  # a batch is hashed and synced before it is answered
SILENCE_SECONDS = 75.0  # feeds ping every 30 s
DOWNLOAD_CHUNK_BYTES = 1024 * 1024
MAX_EVENT_BYTES = 16 * 1024 * 1024
PONG = '{"type":"pong"}'
API = "/api/v1"

_KINDS: dict[int, type[PerplexError]] = {
    400: InvalidInput,
    401: Unauthenticated,
    403: Forbidden,
    409: Conflict,
    413: TooLarge,
    422: InvalidInput,
    507: StorageFull,
}


class _MediaType(msgspec.Struct):
    """The one field of a document that showing a citation needs."""

    media_type: str


async def is_running(address: str) -> bool:
    """Whether a server of ours answers there: `/health` of another program looks different."""
    async with httpx.AsyncClient(timeout=HEALTH_SECONDS, trust_env=False) as client:
        try:
            response = await client.get(f"{address}/health")
            health = response.json()
        except (httpx.HTTPError, httpx.InvalidURL, ValueError):
            return False
    return isinstance(health, dict) and ("uptime_seconds" in health or str(health.get("type")).startswith("/problems/"))


class ServerBackend:
    """A `Backend` over HTTP and WebSocket."""

    outlives_command = True

    def __init__(self, address: str, api_key: str | None = None) -> None:
        self._address = address
        self._headers: dict[str, str] = {}
        self._client = httpx.AsyncClient(timeout=REQUEST_SECONDS, trust_env=False)
        if api_key:
            self.authorise(api_key)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()

    @property
    def place(self) -> str:
        return f"the server at {self._address}"

    @property
    def accounts(self) -> "ServerAccounts":
        from perplex_mono.cli.account_backends import ServerAccounts

        return ServerAccounts(self)

    async def collections(self, cursor: str | None) -> "CollectionPage":
        from perplex_mono.library.schemas import CollectionPage

        return await self._get("/collections", CollectionPage, {"limit": 200, "cursor": cursor})

    async def upload(self, collection_id: str, files: Sequence[SourceFile], tags: Sequence[str]) -> "UploadAccepted":
        from perplex_mono.library.schemas import UploadAccepted

        response = await self._send(
            "POST",
            f"/collections/{quote(collection_id, safe='')}/documents",
            files=[("files", (file.name, file.rewind(), "application/octet-stream")) for file in files],
            data={"tags": json.dumps(list(tags))} if tags else None,
            timeout=UPLOAD_SECONDS,
        )
        return _decode(response, UploadAccepted)

    async def document(self, document_id: str) -> "DocumentView":
        from perplex_mono.library.schemas import DocumentView

        return await self._document(document_id, DocumentView)

    async def media_type(self, document_id: str) -> str:
        return (await self._document(document_id, _MediaType)).media_type

    async def operations(self, state: str | None) -> "OperationPage":
        from perplex_mono.operations.schemas import OperationPage

        return await self._get("/operations", OperationPage, {"state": state})

    async def operation(self, operation_id: str) -> "OperationView":
        from perplex_mono.operations.schemas import OperationView

        path = f"/operations/{quote(operation_id, safe='')}"
        return await self._get(path, OperationView, key=("operation", operation_id))

    async def act(self, action: "Action", operation_id: str) -> "OperationView":
        from perplex_mono.operations.schemas import OperationView

        path = f"/operations/{quote(operation_id, safe='')}/{action}"
        return _decode(await self._send("POST", path, key=("operation", operation_id)), OperationView)

    async def events(self, operation_id: str, after: int) -> "EventPage":
        from perplex_mono.operations.schemas import EventPage

        path = f"/operations/{quote(operation_id, safe='')}/events"
        return await self._get(path, EventPage, {"after": after}, key=("operation", operation_id))

    async def live(self, operation_id: str, after: int) -> "AsyncIterator[Envelope]":
        from websockets.asyncio.client import connect
        from websockets.exceptions import WebSocketException

        from perplex_mono.operations.schemas import Envelope

        address = "ws" + self._address.removeprefix("http")
        feed = f"{address}/ws/operations/{quote(operation_id, safe='')}?after={after}"
        with suppress(OSError, TimeoutError, WebSocketException):
            async with connect(
                feed,
                additional_headers=self._headers,
                open_timeout=5,
                close_timeout=2,
                ping_interval=None,
                proxy=None,
                max_size=MAX_EVENT_BYTES,
            ) as socket:
                while True:
                    async with asyncio.timeout(SILENCE_SECONDS):
                        message = await socket.recv()
                    event = msgspec.json.decode(message, type=Envelope)
                    if event.type == "ping":
                        await socket.send(PONG)
                    else:
                        yield event

    async def indexes(self, collection_id: str) -> "IndexList":
        from perplex_mono.library.schemas import IndexList

        return await self._get(f"{_collection(collection_id)}/indexes", IndexList, key=("collection", collection_id))

    async def reindex(self, collection_id: str, wanted: "Reindexing") -> "ReindexAccepted":
        from perplex_mono.library.schemas import ReindexAccepted

        path = f"{_collection(collection_id)}/reindex"
        return _decode(await self._send("POST", path, json=msgspec.to_builtins(wanted)), ReindexAccepted)

    async def activate(self, collection_id: str, index_id: str) -> "IndexActivated":
        from perplex_mono.library.schemas import IndexActivated

        path = f"{_collection(collection_id)}/indexes/{quote(index_id, safe='')}/activate"
        return _decode(await self._send("POST", path, key=("index", index_id)), IndexActivated)

    async def sources(self, collection_id: str, cursor: str | None) -> "SourcePage":
        from perplex_mono.sources.schemas import SourcePage

        parameters = {"limit": 200, "cursor": cursor}
        path = f"{_collection(collection_id)}/sources"
        return await self._get(path, SourcePage, parameters, key=("collection", collection_id))

    async def add_source(self, collection_id: str, new: "NewSource") -> "SourceView":
        from perplex_mono.sources.schemas import SourceView

        path = f"{_collection(collection_id)}/sources"
        return _decode(await self._send("POST", path, json=msgspec.to_builtins(new)), SourceView)

    async def scan_source(self, collection_id: str, source_id: str) -> "ScanAccepted":
        from perplex_mono.sources.schemas import ScanAccepted

        path = f"{_source(collection_id, source_id)}/scan"
        return _decode(await self._send("POST", path, key=("source", source_id)), ScanAccepted)

    async def remove_source(self, collection_id: str, source_id: str) -> "OperationAccepted":
        from perplex_mono.library.schemas import OperationAccepted

        path = _source(collection_id, source_id)
        return _decode(await self._send("DELETE", path, key=("source", source_id)), OperationAccepted)

    async def start_backup(self, *, include_secrets: bool) -> "BackupAccepted":
        from perplex_mono.backups.schemas import BackupAccepted

        body = {"include_secrets": include_secrets}
        return _decode(await self._send("POST", "/backups", json=body), BackupAccepted)

    async def backup(self, backup_id: str) -> "BackupView":
        from perplex_mono.backups.schemas import BackupView

        return await self._get(_backup(backup_id), BackupView, key=("backup", backup_id))

    async def backup_chunks(self, backup_id: str) -> AsyncIterator[bytes]:
        try:
            async with self._client.stream("GET", f"{self._address}{API}{_backup(backup_id)}/file") as response:
                if not response.is_success:
                    await response.aread()
                    raise _problem(response)
                async for chunk in response.aiter_raw(DOWNLOAD_CHUNK_BYTES):
                    yield chunk
        except httpx.HTTPError as error:
            raise Unavailable(f"The server at {self._address}", _cause(error)) from error

    async def delete_backup(self, backup_id: str) -> None:
        await self._send("DELETE", _backup(backup_id), key=("backup", backup_id))

    async def search(self, request: SearchRequest) -> SearchResponse:
        return _decode(await self._send("POST", "/search", json=msgspec.to_builtins(request)), SearchResponse)

    async def answer(self, request: AnswerRequest) -> Answer:
        return _decode(await self._send("POST", "/answers", json=msgspec.to_builtins(request)), Answer)

    async def _document(self, document_id: str, shape: type[T]) -> T:
        return await self._get(f"/documents/{quote(document_id, safe='')}", shape, key=("document", document_id))

    def authorise(self, token: str) -> None:
        """Send this token with every call from now on."""
        self._headers = {"Authorization": f"Bearer {token}"}
        self._client.headers.update(self._headers)

    async def call(
        self, method: str, path: str, shape: type[T], body: msgspec.Struct | None = None, **options: Any
    ) -> T:
        """One call of the API. Raises `PerplexError` kinds."""
        if body is not None:
            options["json"] = msgspec.to_builtins(body)
        return _decode(await self._send(method, path, **options), shape)

    async def send(self, method: str, path: str, key: tuple[str, str] | None = None) -> None:
        """A call that answers nothing; `key` says what a 404 means. Raises `PerplexError` kinds."""
        await self._send(method, path, key=key)

    async def _get(
        self,
        path: str,
        shape: type[T],
        parameters: Mapping[str, Any] | None = None,
        key: tuple[str, str] | None = None,
    ) -> T:
        given = {name: value for name, value in (parameters or {}).items() if value is not None}
        return _decode(await self._send("GET", path, params=given, key=key), shape)

    async def _send(
        self, method: str, path: str, *, key: tuple[str, str] | None = None, **options: Any
    ) -> httpx.Response:
        try:
            response = await self._client.request(method, self._address + API + path, **options)
        except httpx.HTTPError as error:
            raise Unavailable(f"The server at {self._address}", _cause(error)) from error
        if response.is_success:
            return response
        if response.status_code == 404 and key is not None:
            raise NotFound(*key)
        raise _problem(response)


def _collection(collection_id: str) -> str:
    return f"/collections/{quote(collection_id, safe='')}"


def _source(collection_id: str, source_id: str) -> str:
    return f"{_collection(collection_id)}/sources/{quote(source_id, safe='')}"


def _backup(backup_id: str) -> str:
    return f"/backups/{quote(backup_id, safe='')}"


def _decode(response: httpx.Response, shape: type[T]) -> T:
    try:
        return msgspec.json.decode(response.content, type=shape)
    except msgspec.MsgspecError as error:
        raise PerplexError(f"The answer of {response.url} is not what this version expects: {error}") from error


def _problem(response: httpx.Response) -> PerplexError:
    """The error of the product that the answer's problem details stand for."""
    try:
        body = response.json()
        detail = str(body["detail"])
        fields = [f"{item['field']}: {item['message']}" for item in body.get("errors", []) if item.get("message")]
    except (ValueError, KeyError, TypeError):
        detail, fields = f"The server answered {response.status_code} without saying why.", []
    text = detail if not fields else f"{detail} ({'; '.join(fields)})"
    if response.status_code == 429:
        pause = response.headers.get("retry-after", "")
        return Overloaded(text, int(pause) if pause.isdigit() else 5)
    if response.status_code == 401:
        text += " The commands take an API key from PERPLEX_API_KEY."
    return _KINDS.get(response.status_code, PerplexError)(text)


def _cause(error: httpx.HTTPError) -> str:
    if isinstance(error, httpx.ConnectError):
        return "it refuses connections"
    if isinstance(error, httpx.TimeoutException):
        return "it did not answer in time"
    return f"the connection broke ({error})" if str(error) else "the connection broke"
