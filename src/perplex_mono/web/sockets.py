"""WebSocket feeds: caps, pings, close codes after accept, and a clean end at shutdown.

The handler owns its socket: nobody else ever closes it. Stopping with open sockets hangs if another task calls
`close()` while the handler waits in `receive`, so each handler waits for both and closes by itself.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import msgspec
from litestar import WebSocket
from litestar.exceptions import WebSocketDisconnect
from loguru import logger

from perplex_mono.errors import InvalidInput
from perplex_mono.web.callers import Caller
from perplex_mono.web.metrics import SocketMetrics
from perplex_mono.web.rate_limit import RateLimiter

Socket = WebSocket[Any, Any, Any]

CLOSE_LIMITS = 1008
CLOSE_TOO_LARGE = 1009
CLOSE_INTERNAL = 1011
CLOSE_RESTARTING = 1012
CLOSE_BUSY = 1013
CLOSE_UNAUTHENTICATED = 4401
CLOSE_FORBIDDEN = 4403
CLOSE_NOT_FOUND = 4404

SEND_TIMEOUT_SECONDS = 5.0
CLOSE_TIMEOUT_SECONDS = 3.0
PING_SECONDS = 30.0
IDLE_SECONDS = 60.0
CHECK_SECONDS = 2.0  # between looks whether the caller may still be here
MAX_MESSAGE_BYTES = 4096
MESSAGES_PER_MINUTE = 120  # from clients, which have two pings to answer
_REASON_BYTES = 120  # a close frame holds 125 bytes, two of which are the code


class _Closing(Exception):
    """The feed ends with this code."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class SocketHub:
    """Counts the open feeds, serves each, and ends them all at shutdown."""

    def __init__(
        self,
        *,
        per_user: int,
        total: int,
        is_valid: Callable[[Caller], Awaitable[bool]],
        ping_seconds: float = PING_SECONDS,
        idle_seconds: float = IDLE_SECONDS,
        check_seconds: float = CHECK_SECONDS,
        metrics: SocketMetrics | None = None,
    ) -> None:
        self._is_valid = is_valid
        self._check_seconds = check_seconds
        self._per_user = per_user
        self._total = total
        self._ping_seconds = ping_seconds
        self._idle_seconds = idle_seconds
        self._open: Counter[str] = Counter()
        self._metrics = metrics or SocketMetrics()
        self._metrics.open.set_function(lambda: self.open_count)
        self._stopping = asyncio.Event()
        self._all_closed = asyncio.Event()
        self._all_closed.set()

    def limit(self, *, per_user: int, total: int) -> None:
        """Let so many feeds be open from now on; those that are stay."""
        self._per_user = per_user
        self._total = total

    @property
    def open_count(self) -> int:
        """How many feeds are open."""
        return self._open.total()

    async def stop(self, timeout_seconds: float) -> None:
        """Ask every handler to close its socket with 1012, and wait until they did, or long enough."""
        self._stopping.set()
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_seconds):
                await self._all_closed.wait()

    async def refuse(self, socket: Socket, code: int, reason: str) -> None:
        """Accept, then close: a browser cannot read a refused upgrade."""
        self._metrics.connections.labels("refused").inc()
        await socket.accept()
        await _close(socket, code, reason)

    async def serve(self, socket: Socket, caller: Caller, follow: Callable[[], AsyncIterator[msgspec.Struct]]) -> None:
        """Send what `follow()` yields until the client leaves, loses its right, passes a limit, or the server stops."""
        owner_id = caller.user_id
        if self._stopping.is_set():
            return await self.refuse(socket, CLOSE_RESTARTING, "The server is restarting; connect again with ?after=.")
        if self._open.total() >= self._total:
            return await self.refuse(socket, CLOSE_BUSY, "Too many feeds are open on this server.")
        if self._open[owner_id] >= self._per_user:
            return await self.refuse(socket, CLOSE_LIMITS, f"You have {self._per_user} feeds open already.")
        self._open[owner_id] += 1
        self._all_closed.clear()
        self._metrics.connections.labels("opened").inc()
        try:
            await socket.accept()
            await self._run(socket, caller, follow)
        finally:
            self._open[owner_id] -= 1
            if not self._open[owner_id]:
                del self._open[owner_id]
            if not self._open:
                self._all_closed.set()
        return None

    async def _run(self, socket: Socket, caller: Caller, follow: Callable[[], AsyncIterator[msgspec.Struct]]) -> None:
        lock = asyncio.Lock()
        parts = [
            asyncio.create_task(self._send_all(socket, follow, lock)),
            asyncio.create_task(self._receive(socket)),
            asyncio.create_task(self._ping(socket, lock)),
            asyncio.create_task(self._wait_for_stop()),
            asyncio.create_task(self._watch(caller)),
        ]
        try:
            await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for part in parts:
                part.cancel()
            results = await asyncio.gather(*parts, return_exceptions=True)
        ended = [result for result in results if not isinstance(result, asyncio.CancelledError)]
        await self._close_for(socket, ended[0] if ended else None)

    async def _close_for(self, socket: Socket, cause: BaseException | None) -> None:
        if isinstance(cause, WebSocketDisconnect) or cause is None:
            self._metrics.closed(None)
            return
        if isinstance(cause, InvalidInput):
            cause = _Closing(CLOSE_LIMITS, str(cause))
        elif not isinstance(cause, _Closing):
            logger.opt(exception=cause).error("socket.feed_broke")
            cause = _Closing(CLOSE_INTERNAL, "The feed broke; connect again with ?after=.")
        self._metrics.closed(cause.code)
        await _close(socket, cause.code, cause.reason)

    async def _send_all(
        self, socket: Socket, follow: Callable[[], AsyncIterator[msgspec.Struct]], lock: asyncio.Lock
    ) -> None:
        async for message in follow():
            await _send(socket, msgspec.json.encode(message), lock)
            self._metrics.messages.inc()

    async def _receive(self, socket: Socket) -> None:
        """Clients only answer pings; anything they send shows that they live."""
        rate = RateLimiter(MESSAGES_PER_MINUTE)
        while True:
            try:
                async with asyncio.timeout(self._idle_seconds):
                    message = await _receive_message(socket)
            except TimeoutError:
                raise _Closing(CLOSE_LIMITS, "No answer to pings.") from None
            if len(message) > MAX_MESSAGE_BYTES:
                raise _Closing(CLOSE_TOO_LARGE, f"Messages are limited to {MAX_MESSAGE_BYTES} characters.")
            if rate.wait_seconds("client") > 0:
                raise _Closing(CLOSE_LIMITS, f"Messages are limited to {MESSAGES_PER_MINUTE} a minute.")

    async def _ping(self, socket: Socket, lock: asyncio.Lock) -> None:
        while True:
            await asyncio.sleep(self._ping_seconds)
            message = {"type": "ping", "time": datetime.now(UTC), "data": {}, "operation_id": None}
            await _send(socket, msgspec.json.encode(message), lock)

    async def _watch(self, caller: Caller) -> None:
        while True:
            await asyncio.sleep(self._check_seconds)
            if not await self._is_valid(caller):
                break
        raise _Closing(CLOSE_UNAUTHENTICATED, "This credential is not good any more; log in again.")

    async def _wait_for_stop(self) -> None:
        await self._stopping.wait()
        raise _Closing(CLOSE_RESTARTING, "The server is restarting; connect again with ?after=.")


def close_reason(text: str) -> str:
    """As much of a reason as fits into a close frame; one that is longer is no close frame to the client."""
    return text.encode()[:_REASON_BYTES].decode(errors="ignore")


async def _receive_message(socket: Socket) -> str | bytes:
    """The next message of either kind; Litestar's own way takes one of the other kind for an empty one."""
    event: dict[str, Any] = dict(await socket.receive())
    if event["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(detail="The client left.", code=event["code"])
    message: str | bytes = event.get("text") or event.get("bytes") or ""
    return message


async def _send(socket: Socket, message: bytes, lock: asyncio.Lock) -> None:
    try:
        async with lock, asyncio.timeout(SEND_TIMEOUT_SECONDS):
            await socket.send_data(message, mode="text")
    except TimeoutError:
        raise _Closing(CLOSE_BUSY, "The client reads too slowly; connect again with ?after=.") from None


async def _close(socket: Socket, code: int, reason: str) -> None:
    try:
        async with asyncio.timeout(CLOSE_TIMEOUT_SECONDS):
            await socket.close(code=code, reason=close_reason(reason))
    except (TimeoutError, WebSocketDisconnect, RuntimeError):
        logger.debug("socket.close_failed", code=code)
