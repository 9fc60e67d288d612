"""The one door every request passes, before routing: identity, guard, limits, time for the body, and what is recorded.

Plain ASGI around the application, so that also unknown paths and refused requests carry an id and leave a log line.
"""

import math
import re
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from typing import Any

import msgspec
from loguru import logger
from opentelemetry.trace import SpanKind

from perplex_mono.errors import Forbidden, Overloaded, PerplexError, Unauthenticated
from perplex_mono.telemetry.labels import within
from perplex_mono.telemetry.logs import request_id_var
from perplex_mono.telemetry.traces import span
from perplex_mono.web.callers import LOCAL_CALLER, SCOPE_KEY, Caller, Identity
from perplex_mono.web.exchange import Exchange, Receive, RequestBody, Send, with_protocol
from perplex_mono.web.guard import RequestGuard, network_of
from perplex_mono.web.headers import (
    TOKEN_PROTOCOL,
    announced_length,
    bearer_token,
    joined,
    may_be_json,
    offered_protocol,
)
from perplex_mono.web.metrics import METHODS, UNMATCHED, HttpMetrics
from perplex_mono.web.problems import problem, problem_of, unexpected
from perplex_mono.web.rate_limit import RateLimiter
from perplex_mono.web.sockets import CLOSE_BUSY, CLOSE_FORBIDDEN, CLOSE_INTERNAL, CLOSE_UNAUTHENTICATED, close_reason

Scope = MutableMapping[str, Any]
Application = Callable[[Any, Any, Any], Awaitable[None]]
Identify = Callable[[str], Awaitable[Caller]]
"""From a token to its caller; raises `Unauthenticated`."""

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{8,64}")


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
        metrics: HttpMetrics,
    ) -> None:
        self._app = app
        self._guard = guard
        self._identify = identify
        self._admit_listener = admit_listener
        self._of_users = RateLimiter(limits.requests_per_minute_user)
        self._of_strangers = RateLimiter(limits.requests_per_minute_anonymous)
        self._of_preflights = RateLimiter(limits.requests_per_minute_user)
        self._limits = limits
        self._metrics = metrics

    def use(self, limits: GateLimits) -> None:
        """Let through what these allow from now on."""
        self._limits = limits
        self._of_users.limit(limits.requests_per_minute_user)
        self._of_strangers.limit(limits.requests_per_minute_anonymous)
        self._of_preflights.limit(limits.requests_per_minute_user)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One connection: lifespan passes through, HTTP and WebSocket are checked."""
        if scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["type"] == "websocket":
            await self._websocket(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = joined(scope["headers"])
        offered = offered_protocol(headers)
        send = with_protocol(send, offered)
        try:
            identity = await self._admitted(scope, headers, offered)
        except PerplexError as refusal:
            await receive()
            await send({"type": "websocket.accept"})
            await send({"type": "websocket.close", "code": _close_code(refusal), "reason": close_reason(str(refusal))})
            return
        except Exception:
            logger.exception("socket.admission_broke")
            await receive()
            await send({"type": "websocket.accept"})
            await send({"type": "websocket.close", "code": CLOSE_INTERNAL, "reason": "The server failed to answer."})
            return
        request_id_var.set(uuid.uuid4().hex)
        await self._app({**scope, SCOPE_KEY: identity}, receive, send)

    async def _admitted(self, scope: Scope, headers: Mapping[bytes, bytes], offered: str | None) -> Identity:
        """Who wants to listen. Raises `Forbidden`, `Unauthenticated`, or `Overloaded` for whoever tries too often."""
        refusal = self._guard.refusal(scope["path"], headers)
        if refusal is not None:
            raise Forbidden(refusal)
        token = bearer_token(headers) or (offered and offered.removeprefix(TOKEN_PROTOCOL))
        identity = await self._who(scope, headers, token)
        wait = self._wait_seconds(identity)
        if wait > 0:
            raise Overloaded(f"Too many requests; try again in {math.ceil(wait)} s.", math.ceil(wait))
        self._admit_listener(identity)
        return identity

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = joined(scope["headers"])
        given = headers.get(b"x-request-id", b"")
        request_id = given.decode() if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        exchange = Exchange(send, request_id, self._guard.cors_headers(headers))
        if scope["method"] == "HEAD":
            # The server leaves out the body of the answer, so asking for it as GET is all there is to do.
            scope = {**scope, "method": "GET"}
        if self._is_probe(scope, headers):
            nobody = Identity(LOCAL_CALLER if self._guard.mode == "local" else None)
            await self._app({**scope, SCOPE_KEY: nobody}, receive, exchange.send)
            return
        token = request_id_var.set(request_id)
        try:
            with self._metrics.in_progress.track_inprogress(), self._recorded(scope, exchange):
                await self._checked(scope, headers, receive, exchange)
        finally:
            request_id_var.reset(token)

    @contextmanager
    def _recorded(self, scope: Scope, exchange: Exchange) -> Iterator[None]:
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

    async def _checked(self, scope: Scope, headers: dict[bytes, bytes], receive: Receive, exchange: Exchange) -> None:
        refusal = self._guard.refusal(scope["path"], headers)
        if refusal is not None:
            await exchange.refuse(problem(403, "forbidden", "Refused", refusal, scope["path"]))
            return
        body = RequestBody(receive, self._limits.body_idle_seconds)
        try:
            identity = await self._who(scope, headers, bearer_token(headers))
            wait = self._wait_seconds(identity, is_preflight=self._is_preflight(scope, headers))
            if wait > 0:
                retry = (b"retry-after", str(math.ceil(wait)).encode())
                answer = problem(429, "rate-limited", "Too many requests", "Try again later.", scope["path"])
                await exchange.refuse(answer, [retry])
                return
            if may_be_json(headers):
                await body.buffer_json(
                    announced_length(headers), self._limits.max_json_bytes, self._limits.max_json_depth
                )
            scope[SCOPE_KEY] = identity
            await self._app(scope, body.receive, exchange.send)
        except PerplexError as error:
            if not exchange.is_started:
                await exchange.refuse(problem_of(error, scope["path"]))
        except Exception as error:
            logger.opt(exception=error).error("request.broke", path=scope["path"])
            if not exchange.is_started:
                await exchange.refuse(unexpected(scope["path"]))

    def _is_probe(self, scope: Scope, headers: Mapping[bytes, bytes]) -> bool:
        """Whether a monitor asks how the server is: without limits or a log line, and without saying who it is."""
        is_open = scope["path"] in self._guard.open_paths and self._guard.refusal(scope["path"], headers) is None
        return is_open and bearer_token(headers) is None

    def _is_preflight(self, scope: Scope, headers: Mapping[bytes, bytes]) -> bool:
        """Whether a browser asks on its own, and without a token, if a page of a listed origin may make a request."""
        is_asking = scope["method"] == "OPTIONS" and b"access-control-request-method" in headers
        return is_asking and bool(self._guard.cors_headers(headers))

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

    def _wait_seconds(self, identity: Identity, *, is_preflight: bool = False) -> float:
        """How long until the next request may come; what a browser asks before one has a count of its own."""
        if is_preflight:
            return self._of_preflights.wait_seconds(network_of(identity.address))
        if identity.caller is not None:
            return self._of_users.wait_seconds(identity.caller.user_id)
        return self._of_strangers.wait_seconds(network_of(identity.address))


def _close_code(refusal: PerplexError) -> int:
    if isinstance(refusal, Unauthenticated):
        return CLOSE_UNAUTHENTICATED
    return CLOSE_FORBIDDEN if isinstance(refusal, Forbidden) else CLOSE_BUSY
