"""Calls of a running server: its HTTP API and its live feeds, with the errors of the product for what goes wrong."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

import httpx
import msgspec

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

if TYPE_CHECKING:
    from perplex_mono.operations.schemas import Envelope

T = TypeVar("T")
HEALTH_SECONDS = httpx.Timeout(3.0, connect=1.0)
REQUEST_SECONDS = httpx.Timeout(60.0, connect=5.0)
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


async def is_running(address: str) -> bool:
    """Whether a server of ours answers there: `/health` of another program looks different."""
    async with httpx.AsyncClient(timeout=HEALTH_SECONDS, trust_env=False) as client:
        try:
            response = await client.get(f"{address}/health")
            health = response.json()
        except (httpx.HTTPError, httpx.InvalidURL, ValueError):
            return False
    return isinstance(health, dict) and ("uptime_seconds" in health or str(health.get("type")).startswith("/problems/"))


class ServerConnection:
    """One server, asked as whoever the token says. Paths are those of the API; all methods raise `PerplexError` kinds.

    `key` is the kind and the id of what a path names: a 404 means that there is no such thing.
    """

    def __init__(self, address: str, token: str | None = None) -> None:
        self.address = address
        self._headers: dict[str, str] = {}
        self._client = httpx.AsyncClient(timeout=REQUEST_SECONDS, trust_env=False)
        if token:
            self.authorise(token)

    async def aclose(self) -> None:
        """End the connection."""
        await self._client.aclose()

    def authorise(self, token: str) -> None:
        """Send this token with every call from now on."""
        self._headers = {"Authorization": f"Bearer {token}"}
        self._client.headers.update(self._headers)

    async def get(
        self,
        path: str,
        shape: type[T],
        parameters: Mapping[str, Any] | None = None,
        key: tuple[str, str] | None = None,
    ) -> T:
        """What is there; of the parameters those that are not None."""
        given = {name: value for name, value in (parameters or {}).items() if value is not None}
        return _decode(await self.send("GET", path, params=given, key=key), shape)

    async def call(
        self, method: str, path: str, shape: type[T], body: msgspec.Struct | None = None, **options: Any
    ) -> T:
        """One call of the API, and its answer."""
        if body is not None:
            options["json"] = msgspec.to_builtins(body)
        return _decode(await self.send(method, path, **options), shape)

    async def send(
        self, method: str, path: str, *, key: tuple[str, str] | None = None, **options: Any
    ) -> httpx.Response:
        """One call of the API, whatever it answers when it succeeds; `options` are those of httpx."""
        try:
            response = await self._client.request(method, self.address + API + path, **options)
        except httpx.HTTPError as error:
            raise Unavailable(f"The server at {self.address}", _cause(error)) from error
        if response.is_success:
            return response
        if response.status_code == 404 and key is not None:
            raise NotFound(*key)
        raise _problem(response)

    async def chunks(self, path: str) -> AsyncIterator[bytes]:
        """The bytes there, in pieces."""
        try:
            async with self._client.stream("GET", f"{self.address}{API}{path}") as response:
                if not response.is_success:
                    await response.aread()
                    raise _problem(response)
                async for chunk in response.aiter_raw(DOWNLOAD_CHUNK_BYTES):
                    yield chunk
        except httpx.HTTPError as error:
            raise Unavailable(f"The server at {self.address}", _cause(error)) from error

    async def feed(self, path: str) -> "AsyncIterator[Envelope]":
        """The events of a live feed as they happen; ends when the connection does."""
        from websockets.asyncio.client import connect
        from websockets.exceptions import WebSocketException

        from perplex_mono.operations.schemas import Envelope

        address = "ws" + self.address.removeprefix("http")
        with suppress(OSError, TimeoutError, WebSocketException):
            async with connect(
                f"{address}{path}",
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
    if response.status_code == 401 and "authorization" not in response.request.headers:
        text += " The commands take an API key from PERPLEX_API_KEY."
    return _KINDS.get(response.status_code, PerplexError)(text)


def _cause(error: httpx.HTTPError) -> str:
    if isinstance(error, httpx.ConnectError):
        return "it refuses connections"
    if isinstance(error, httpx.TimeoutException):
        return "it did not answer in time"
    return f"the connection broke ({error})" if str(error) else "the connection broke"
