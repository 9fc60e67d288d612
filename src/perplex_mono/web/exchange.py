"""One request as the gate sees it: a body that must keep coming, an answer that gets our headers."""

import asyncio
import time
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any

from perplex_mono.errors import Incomplete, InvalidInput, TooLarge
from perplex_mono.web.json_depth import is_too_deep
from perplex_mono.web.problems import MEDIA_TYPE, Problem, encode

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

MIN_BYTES_PER_SECOND = 1_000  # of a body, on average; who never falls silent could hold a connection for ever
PATIENCE_FACTOR = 10  # times the idle limit: for how long a body may be slower than that

_SECURITY_HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"x-frame-options", b"DENY"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=()"),
    (b"cache-control", b"no-store"),
]


class Exchange:
    """The answer of one request: adds our headers, remembers the status."""

    def __init__(self, send: Send, request_id: str, headers: Sequence[tuple[bytes, bytes]] = ()) -> None:
        self._send = send
        self._extra = [(b"x-request-id", request_id.encode()), *_SECURITY_HEADERS, *headers]
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


class RequestBody:
    """The request's body, which must keep coming until it is complete."""

    def __init__(self, receive: Receive, idle_seconds: float) -> None:
        self._receive = receive
        self._idle_seconds = idle_seconds
        self._buffered: Message | None = None
        self._is_complete = False
        self._received_bytes = 0
        self._waited_seconds = 0.0

    async def receive(self) -> Message:
        """The next message. Raises `Incomplete` when the client goes silent, away, or on without end at a trickle."""
        if self._buffered is not None:
            message, self._buffered = self._buffered, None
            return message
        if self._is_complete:
            return await self._receive()
        started = time.monotonic()
        message = await self._next_in_time()
        if message["type"] != "http.request":
            raise Incomplete("The client went away in the middle of its request.")
        self._is_complete = not message.get("more_body", False)
        self._received_bytes += len(message.get("body", b""))
        self._waited_seconds += time.monotonic() - started
        if not self._is_complete:
            self._require_pace()
        return message

    async def _next_in_time(self) -> Message:
        """What arrived while our own loop was held up has arrived: only then comes the time that is over."""
        receiving = asyncio.ensure_future(self._receive())
        try:
            done, _ = await asyncio.wait({receiving}, timeout=self._idle_seconds)
        finally:
            if not receiving.done():
                receiving.cancel()
        if not done:
            raise Incomplete(f"No more of the body arrived for {self._idle_seconds} s (limits.body_idle_seconds).")
        return receiving.result()

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

    def _require_pace(self) -> None:
        """Only time spent waiting for the client counts, so a server that was busy or stopped blames nobody."""
        is_patient = self._waited_seconds <= PATIENCE_FACTOR * self._idle_seconds
        if not is_patient and self._received_bytes < MIN_BYTES_PER_SECOND * self._waited_seconds:
            raise Incomplete(f"The body arrives at less than {MIN_BYTES_PER_SECOND} bytes a second.")


def with_protocol(send: Send, offered: str | None) -> Send:
    """Say with the acceptance that the offered subprotocol is spoken, as browsers insist."""

    async def accept(message: Message) -> None:
        if offered is not None and message["type"] == "websocket.accept":
            message = {**message, "subprotocol": offered}
        await send(message)

    return accept
