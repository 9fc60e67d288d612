"""The one door every request passes, before routing: identity, guard, limits, time for the body, and what is recorded.

Plain ASGI around the application, so that also unknown paths and refused requests carry an id and leave a log line.
"""

import asyncio
import re
import time
import uuid
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec
from loguru import logger
from opentelemetry.trace import SpanKind

from perplex_mono.errors import Incomplete, InvalidInput, PerplexError, TooLarge
from perplex_mono.telemetry.labels import within
from perplex_mono.telemetry.logs import request_id_var
from perplex_mono.telemetry.traces import span
from perplex_mono.web.json_depth import is_too_deep
from perplex_mono.web.local_guard import LocalGuard
from perplex_mono.web.metrics import METHODS, UNMATCHED, HttpMetrics
from perplex_mono.web.problems import MEDIA_TYPE, Problem, encode, problem, problem_of
from perplex_mono.web.rate_limit import RateLimiter
from perplex_mono.web.sockets import CLOSE_ORIGIN

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Any, Any, Any], Awaitable[None]]

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{8,64}")
_SECURITY_HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"x-frame-options", b"DENY"),
]


class GateLimits(msgspec.Struct, frozen=True):
    """What the door lets through."""

    body_idle_seconds: float
    max_json_bytes: int
    max_json_depth: int


class Gate:
    """Wraps the application."""

    def __init__(
        self, app: Application, guard: LocalGuard, limiter: RateLimiter, limits: GateLimits, metrics: HttpMetrics
    ) -> None:
        self._app = app
        self._guard = guard
        self._limiter = limiter
        self._limits = limits
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One connection: lifespan passes through, HTTP and WebSocket are checked."""
        if scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["type"] == "websocket":
            await self._websocket(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        reason = self._guard.refusal(scope["path"], _joined(scope["headers"]))
        if reason is None:
            request_id_var.set(uuid.uuid4().hex)
            await self._app(scope, receive, send)
            return
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.close", "code": CLOSE_ORIGIN, "reason": reason[:100]})

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = _joined(scope["headers"])
        given = headers.get(b"x-request-id", b"")
        request_id = given.decode() if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        exchange = _Exchange(send, request_id)
        if scope["method"] == "HEAD":
            # The server leaves out the body of the answer, so asking for it as GET is all there is to do.
            scope = {**scope, "method": "GET"}
        if scope["path"] in self._guard.open_paths and self._guard.refusal(scope["path"], headers) is None:
            await self._app(scope, receive, exchange.send)
            return
        token = request_id_var.set(request_id)
        try:
            with self._metrics.in_progress.track_inprogress(), self._recorded(scope, exchange):
                await self._checked(scope, headers, receive, exchange)
        finally:
            request_id_var.reset(token)

    @contextmanager
    def _recorded(self, scope: Scope, exchange: "_Exchange") -> Iterator[None]:
        """The request in a trace, the metrics and the log, whose line carries the trace's id."""
        started = time.perf_counter()
        method, path = scope["method"], scope["path"]
        attributes = {"http.request.method": method, "url.path": path}
        with span("request", kind=SpanKind.SERVER, **attributes) as current:
            try:
                yield
            finally:
                seconds, status = time.perf_counter() - started, exchange.status
                route = scope.get("path_template") or UNMATCHED
                self._metrics.record(method, route, status, seconds)
                current.update_name(f"{within(method, METHODS)} {route}")
                current.set_attributes({"http.route": route, "http.response.status_code": status})
                logger.info(
                    "http.request", method=method, path=path, status=status, milliseconds=round(seconds * 1000, 1)
                )

    async def _checked(
        self, scope: Scope, headers: dict[bytes, bytes], receive: Receive, exchange: "_Exchange"
    ) -> None:
        refusal = self._guard.refusal(scope["path"], headers)
        if refusal is not None:
            await exchange.refuse(problem(403, "forbidden", "Refused", refusal, scope["path"]))
            return
        caller = str((scope.get("client") or ("",))[0]) if self._guard.is_closed else "local"
        wait = self._limiter.wait_seconds(caller)
        if wait > 0:
            retry = (b"retry-after", str(max(1, round(wait))).encode())
            answer = problem(429, "rate-limited", "Too many requests", "Try again later.", scope["path"])
            await exchange.refuse(answer, [retry])
            return
        body = _Body(receive, self._limits.body_idle_seconds)
        try:
            if _may_be_json(headers):
                await body.buffer_json(_length(headers), self._limits.max_json_bytes, self._limits.max_json_depth)
            await self._app(scope, body.receive, exchange.send)
        except PerplexError as error:
            if not exchange.is_started:
                await exchange.refuse(problem_of(error, scope["path"]))


class _Exchange:
    """The answer of one request: adds our headers, remembers the status."""

    def __init__(self, send: Send, request_id: str) -> None:
        self._send = send
        self._extra = [(b"x-request-id", request_id.encode()), *_SECURITY_HEADERS]
        self.status = 0
        self.is_started = False

    async def send(self, message: Message) -> None:
        """Pass a message on; the first one gets our headers, unless the application set them itself."""
        if message["type"] == "http.response.start":
            self.is_started = True
            self.status = message["status"]
            present = {name.lower() for name, _ in message["headers"]}
            ours = [*self._extra, (b"connection", b"close")] if self.status == 408 else self._extra
            message["headers"] = [*message["headers"], *(pair for pair in ours if pair[0] not in present)]
        await self._send(message)

    async def refuse(self, answer: Problem, headers: Sequence[tuple[bytes, bytes]] = ()) -> None:
        """Answer with a problem instead of calling the application."""
        body = encode(answer)
        start = [(b"content-type", MEDIA_TYPE.encode()), (b"content-length", str(len(body)).encode()), *headers]
        await self.send({"type": "http.response.start", "status": answer.status, "headers": start})
        await self._send({"type": "http.response.body", "body": body, "more_body": False})


class _Body:
    """The request's body, which must keep coming until it is complete."""

    def __init__(self, receive: Receive, idle_seconds: float) -> None:
        self._receive = receive
        self._idle_seconds = idle_seconds
        self._buffered: Message | None = None
        self._is_complete = False

    async def receive(self) -> Message:
        """The next message. Raises `Incomplete` when the client goes silent or away in the middle."""
        if self._buffered is not None:
            message, self._buffered = self._buffered, None
            return message
        if self._is_complete:
            return await self._receive()
        try:
            async with asyncio.timeout(self._idle_seconds):
                message = await self._receive()
        except TimeoutError:
            waited = f"No more of the body arrived for {self._idle_seconds} s (limits.body_idle_seconds)."
            raise Incomplete(waited) from None
        if message["type"] != "http.request":
            raise Incomplete("The client went away in the middle of its request.")
        self._is_complete = not message.get("more_body", False)
        return message

    async def buffer_json(self, length: int, max_bytes: int, max_depth: int) -> None:
        """Read the body whole before the application may have it.

        Raises `TooLarge` past `max_bytes` (an announced `length` counts before the first byte) and `InvalidInput` for
        brackets nested past `max_depth`.
        """
        body = bytearray()
        while not self._is_complete:
            if length <= max_bytes:
                body += (await self.receive()).get("body", b"")
            if max(len(body), length) > max_bytes:
                raise TooLarge(f"The body is larger than {max_bytes} bytes (limits.max_json_bytes).")
        if await is_too_deep(bytes(body), max_depth):
            raise InvalidInput(f"The JSON is nested more than {max_depth} levels deep (limits.max_json_depth).")
        self._buffered = {"type": "http.request", "body": bytes(body), "more_body": False}


def _joined(headers: Iterable[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """Headers by name; repeated ones become one list between commas, so that no reader may pick the one it likes."""
    joined: dict[bytes, bytes] = {}
    for name, value in headers:
        joined[name] = joined[name] + b", " + value if name in joined else value
    return joined


def _may_be_json(headers: Mapping[bytes, bytes]) -> bool:
    """Whether there is a body that is not a form: handlers read those as JSON whatever they are declared to be."""
    has_body = b"content-length" in headers or b"transfer-encoding" in headers
    return has_body and not headers.get(b"content-type", b"").lower().startswith(b"multipart/")


def _length(headers: Mapping[bytes, bytes]) -> int:
    """The announced length of the body; 0 when there is none."""
    value = headers.get(b"content-length", b"")
    return int(value) if value.isdigit() else 0
