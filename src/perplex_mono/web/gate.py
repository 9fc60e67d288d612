"""The one door every request passes, before routing: identity, guard, limits, time for the body, and what is recorded.

Plain ASGI around the application, so that also unknown paths and refused requests carry an id and leave a log line.
"""

import asyncio
import re
import time
import uuid
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping, Sequence
from typing import Any

import msgspec
from loguru import logger
from opentelemetry.trace import SpanKind

from perplex_mono.errors import Forbidden, Incomplete, InvalidInput, PerplexError, TooLarge, Unauthenticated
from perplex_mono.telemetry.logs import request_id_var
from perplex_mono.telemetry.metrics import Metrics
from perplex_mono.telemetry.traces import span
from perplex_mono.web.callers import LOCAL_CALLER, SCOPE_KEY, Caller, Identity
from perplex_mono.web.guard import RequestGuard
from perplex_mono.web.json_depth import is_too_deep
from perplex_mono.web.problems import MEDIA_TYPE, Problem, encode, problem, problem_of
from perplex_mono.web.rate_limit import RateLimiter
from perplex_mono.web.sockets import CLOSE_BUSY, CLOSE_FORBIDDEN, CLOSE_UNAUTHENTICATED

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Any, Any, Any], Awaitable[None]]
Identify = Callable[[str], Awaitable[Caller]]
"""From a token to its caller; raises `Unauthenticated`."""

TOKEN_PROTOCOL = "access_token."  # noqa: S105 - what stands before the token
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{8,64}")
_SECURITY_HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"x-frame-options", b"DENY"),
]


class GateLimits(msgspec.Struct, frozen=True):
    """What the door lets through."""

    requests_per_minute_user: int
    requests_per_minute_anonymous: int
    body_idle_seconds: float
    max_json_bytes: int
    max_json_depth: int


class Gate:
    """Wraps the application."""

    def __init__(
        self,
        app: Application,
        guard: RequestGuard,
        identify: Identify,
        admit_listener: Callable[[Identity], None],
        limits: GateLimits,
        metrics: Metrics,
    ) -> None:
        self._app = app
        self._guard = guard
        self._identify = identify
        self._admit_listener = admit_listener
        self._of_users = RateLimiter(limits.requests_per_minute_user)
        self._of_strangers = RateLimiter(limits.requests_per_minute_anonymous)
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
        headers = _joined(scope["headers"])
        offered = _offered_protocol(headers)
        send = _with_protocol(send, offered)
        try:
            identity = await self._admitted(scope, headers, offered)
        except PerplexError as refusal:
            await receive()
            await send({"type": "websocket.accept"})
            await send({"type": "websocket.close", "code": _close_code(refusal), "reason": str(refusal)[:100]})
            return
        request_id_var.set(uuid.uuid4().hex)
        await self._app({**scope, SCOPE_KEY: identity}, receive, send)

    async def _admitted(self, scope: Scope, headers: Mapping[bytes, bytes], offered: str | None) -> Identity:
        """Who wants to listen to a feed. Raises `Forbidden`, `Unauthenticated` and what looking it up raises."""
        refusal = self._guard.refusal(scope["path"], headers)
        if refusal is not None:
            raise Forbidden(refusal)
        token = _bearer_token(headers) or (offered and offered.removeprefix(TOKEN_PROTOCOL))
        identity = await self._who(scope, headers, token)
        self._admit_listener(identity)
        return identity

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = _joined(scope["headers"])
        given = headers.get(b"x-request-id", b"")
        request_id = given.decode() if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        exchange = _Exchange(send, request_id)
        if scope["method"] == "HEAD":
            # The server leaves out the body of the answer, so asking for it as GET is all there is to do.
            scope = {**scope, "method": "GET"}
        if scope["path"] in self._guard.open_paths and self._guard.refusal(scope["path"], headers) is None:
            await self._app({**scope, SCOPE_KEY: Identity(None)}, receive, exchange.send)
            return
        token = request_id_var.set(request_id)
        started = time.perf_counter()
        try:
            with span(f"{scope['method']} request", SpanKind.SERVER, **{"url.path": scope["path"]}) as current:
                await self._checked(scope, headers, receive, exchange)
                current.set_attribute("http.response.status_code", exchange.status)
        finally:
            seconds = time.perf_counter() - started
            self._record(scope, exchange.status, seconds)
            request_id_var.reset(token)

    async def _checked(
        self, scope: Scope, headers: dict[bytes, bytes], receive: Receive, exchange: "_Exchange"
    ) -> None:
        refusal = self._guard.refusal(scope["path"], headers)
        if refusal is not None:
            await exchange.refuse(problem(403, "forbidden", "Refused", refusal, scope["path"]))
            return
        body = _Body(receive, self._limits.body_idle_seconds)
        try:
            identity = await self._who(scope, headers, _bearer_token(headers))
            wait = self._wait_seconds(identity)
            if wait > 0:
                retry = (b"retry-after", str(max(1, round(wait))).encode())
                answer = problem(429, "rate-limited", "Too many requests", "Try again later.", scope["path"])
                await exchange.refuse(answer, [retry])
                return
            if _may_be_json(headers):
                await body.buffer_json(_length(headers), self._limits.max_json_bytes, self._limits.max_json_depth)
            scope[SCOPE_KEY] = identity
            await self._app(scope, body.receive, exchange.send)
        except PerplexError as error:
            if not exchange.is_started:
                await exchange.refuse(problem_of(error, scope["path"]))

    async def _who(self, scope: Scope, headers: Mapping[bytes, bytes], token: str | None) -> Identity:
        """Who makes the request; a credential that is not good makes it nobody's, and says why."""
        peer = str((scope.get("client") or ("",))[0])
        address = self._guard.client_address(peer, headers)
        if self._guard.mode == "local":
            return Identity(LOCAL_CALLER, address=address)
        if token is None:
            return Identity(None, address=address)
        try:
            return Identity(await self._identify(token), address=address)
        except Unauthenticated as refusal:
            return Identity(None, str(refusal), address)

    def _wait_seconds(self, identity: Identity) -> float:
        if identity.caller is not None:
            return self._of_users.wait_seconds(identity.caller.user_id)
        return self._of_strangers.wait_seconds(identity.address)

    def _record(self, scope: Scope, status: int, seconds: float) -> None:
        handler = scope.get("path_template") or "unmatched"
        self._metrics.http_requests.labels(scope["method"], handler, str(status)).inc()
        self._metrics.http_request_seconds.labels(scope["method"], handler).observe(seconds)
        logger.info(
            "http.request",
            method=scope["method"],
            path=scope["path"],
            status=status,
            milliseconds=round(seconds * 1000, 1),
        )


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


def _bearer_token(headers: Mapping[bytes, bytes]) -> str | None:
    kind, _, token = headers.get(b"authorization", b"").decode("latin-1").strip().partition(" ")
    return token.strip() if kind.lower() == "bearer" else None


def _offered_protocol(headers: Mapping[bytes, bytes]) -> str | None:
    """The subprotocol that carries a token: browsers can send no header with a WebSocket."""
    offered = headers.get(b"sec-websocket-protocol", b"").decode("latin-1").split(",")
    return next((name.strip() for name in offered if name.strip().startswith(TOKEN_PROTOCOL)), None)


def _close_code(refusal: PerplexError) -> int:
    if isinstance(refusal, Unauthenticated):
        return CLOSE_UNAUTHENTICATED
    return CLOSE_FORBIDDEN if isinstance(refusal, Forbidden) else CLOSE_BUSY


def _with_protocol(send: Send, offered: str | None) -> Send:
    """Say with the acceptance that the offered subprotocol is spoken, as browsers insist."""

    async def accept(message: Message) -> None:
        if offered is not None and message["type"] == "websocket.accept":
            message = {**message, "subprotocol": offered}
        await send(message)

    return accept


def _may_be_json(headers: Mapping[bytes, bytes]) -> bool:
    """Whether there is a body that is not a form: handlers read those as JSON whatever they are declared to be."""
    has_body = b"content-length" in headers or b"transfer-encoding" in headers
    return has_body and not headers.get(b"content-type", b"").lower().startswith(b"multipart/")


def _length(headers: Mapping[bytes, bytes]) -> int:
    """The announced length of the body; 0 when there is none."""
    value = headers.get(b"content-length", b"")
    return int(value) if value.isdigit() else 0
