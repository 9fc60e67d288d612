"""The hub's caps, pings and ends, with a socket that is scripted instead of connected."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from typing import Any, cast

import msgspec
import pytest
from prometheus_client import CollectorRegistry

from perplex_mono.errors import InvalidInput
from perplex_mono.web import sockets
from perplex_mono.web.callers import Caller
from perplex_mono.web.metrics import SocketMetrics
from perplex_mono.web.sockets import Socket, SocketHub, close_reason
from tests.figures import figure


class Said(msgspec.Struct):
    """Something a feed sends."""

    text: str


class ScriptedSocket:
    """What the hub uses of a socket: it never says anything unless told, and remembers how it was closed."""

    def __init__(self, says: Sequence[str | bytes] = (), *, is_stuck: bool = False) -> None:
        self._says = list(says)
        self._is_stuck = is_stuck
        self.sent: list[dict[str, Any]] = []
        self.closed: tuple[int, str] | None = None
        self.accepted = asyncio.Event()

    async def accept(self) -> None:
        self.accepted.set()

    async def receive(self) -> dict[str, Any]:
        if self._says:
            said = self._says.pop(0)
            return {"type": "websocket.receive", "bytes" if isinstance(said, bytes) else "text": said}
        await asyncio.Event().wait()
        raise AssertionError

    async def send_data(self, data: bytes, mode: str) -> None:
        if self._is_stuck:
            await asyncio.Event().wait()
        self.sent.append(msgspec.json.decode(data))

    async def close(self, code: int, reason: str) -> None:
        self.closed = (code, reason)


def feed(*texts: str, error: Exception | None = None) -> Callable[[], AsyncIterator[msgspec.Struct]]:
    async def follow() -> AsyncIterator[msgspec.Struct]:
        for text in texts:
            yield Said(text)
        if error is not None:
            raise error
        await asyncio.Event().wait()

    return follow


async def everybody(_: Caller) -> bool:
    return True


new_hub = partial(SocketHub, is_valid=everybody)


def serve(hub: SocketHub, socket: ScriptedSocket, owner: str = "a", **options: Any) -> "asyncio.Task[None]":
    caller = Caller(owner, owner, frozenset({"read"}), "session", f"session of {owner}")
    return asyncio.create_task(hub.serve(cast(Socket, socket), caller, options.get("follow", feed("hello"))))


async def open_sockets(hub: SocketHub, *owners: str) -> "list[asyncio.Task[None]]":
    tasks = []
    for owner in owners:
        socket = ScriptedSocket()
        tasks.append(serve(hub, socket, owner))
        await socket.accepted.wait()
    return tasks


async def refused(hub: SocketHub, owner: str) -> int:
    socket = ScriptedSocket()
    await serve(hub, socket, owner)
    assert socket.accepted.is_set(), "a browser cannot read a refused upgrade"
    assert socket.closed is not None
    return socket.closed[0]


async def test_caps_by_user_and_in_all() -> None:
    registry = CollectorRegistry()
    hub = new_hub(per_user=2, total=3, metrics=SocketMetrics(registry))
    tasks = await open_sockets(hub, "a", "a")
    assert await refused(hub, "a") == 1008
    tasks += await open_sockets(hub, "b")
    assert await refused(hub, "c") == 1013
    assert hub.open_count == 3
    assert figure(registry, "active_websocket_connections") == 3
    await hub.stop(5)
    await asyncio.gather(*tasks)
    assert hub.open_count == 0
    assert await refused(hub, "a") == 1012
    assert figure(registry, "active_websocket_connections") == 0
    assert figure(registry, "websocket_connections_total", outcome="opened") == 3
    assert figure(registry, "websocket_connections_total", outcome="refused") == 3
    assert figure(registry, "websocket_closes_total", code="1012") == 3


async def test_what_is_sent_and_who_leaves_is_counted() -> None:
    registry = CollectorRegistry()
    metrics = SocketMetrics(registry)
    await serve(new_hub(per_user=1, total=1, metrics=metrics), ScriptedSocket(), follow=feed("a", "b", error=OSError()))
    assert figure(registry, "websocket_messages_total") == 2
    assert figure(registry, "websocket_closes_total", code="1011") == 1
    metrics.closed(None)
    metrics.closed(4999)
    assert figure(registry, "websocket_closes_total", code="client") == 1
    assert figure(registry, "websocket_closes_total", code="other") == 1


async def test_stopping_closes_every_socket_and_waits_for_it() -> None:
    hub = new_hub(per_user=5, total=5)
    opened = [ScriptedSocket() for _ in range(3)]
    tasks = [serve(hub, socket) for socket in opened]
    for socket in opened:
        await socket.accepted.wait()
    await hub.stop(5)
    assert [socket.closed and socket.closed[0] for socket in opened] == [1012] * 3
    await asyncio.gather(*tasks)


async def test_a_silent_client_is_pinged_and_then_let_go() -> None:
    hub = new_hub(per_user=1, total=1, ping_seconds=0.02, idle_seconds=1.0)
    socket = ScriptedSocket()
    await serve(hub, socket)
    pings = [message for message in socket.sent if message.get("type") == "ping"]
    assert len(pings) >= 2
    assert all("seq" not in ping for ping in pings)
    assert socket.closed == (1008, "No answer to pings.")


async def test_a_client_that_talks_is_not_let_go() -> None:
    hub = new_hub(per_user=1, total=1, idle_seconds=1.0)
    socket = ScriptedSocket(["pong"] * 3)
    task = serve(hub, socket)
    async with asyncio.timeout(30):
        while socket._says:  # noqa: ASYNC110  # what is awaited sets no event
            await asyncio.sleep(0)
    assert not task.done()
    await task
    assert socket.closed is not None


async def test_a_feed_that_breaks_ends_with_its_code() -> None:
    hub = new_hub(per_user=1, total=1)
    for error, code in ((InvalidInput("'after' is wrong"), 1008), (RuntimeError("secret detail"), 1011)):
        socket = ScriptedSocket()
        await serve(hub, socket, follow=feed("one", error=error))
        assert socket.sent == [{"text": "one"}]
        assert socket.closed is not None
        assert socket.closed[0] == code
        assert "secret" not in socket.closed[1]
    assert hub.open_count == 0


async def test_a_caller_that_loses_its_right_is_let_go() -> None:
    valid = {"a", "b"}

    async def is_valid(caller: Caller) -> bool:
        return caller.user_id in valid

    hub = SocketHub(per_user=1, total=2, is_valid=is_valid, check_seconds=0.01)
    revoked, other = ScriptedSocket(), ScriptedSocket()
    ending, staying = serve(hub, revoked, "a"), serve(hub, other, "b")
    await revoked.accepted.wait()
    valid.remove("a")
    async with asyncio.timeout(5):
        await ending
    assert revoked.closed is not None
    assert revoked.closed[0] == 4401
    assert other.closed is None
    await hub.stop(5)
    await staying


@pytest.mark.parametrize("large", ["x" * 4097, b"x" * 4097])
async def test_a_large_message_ends_the_feed(large: str | bytes) -> None:
    socket = ScriptedSocket(["x" * 4096, b"x" * 4096, large])
    await serve(new_hub(per_user=1, total=1), socket)
    assert socket.closed is not None
    assert socket.closed[0] == 1009


async def test_a_flood_of_messages_ends_the_feed() -> None:
    socket = ScriptedSocket(["x"] * 1_000)
    await serve(new_hub(per_user=1, total=1), socket)
    assert socket.closed is not None
    assert socket.closed[0] == 1008


def test_a_reason_fits_into_a_close_frame() -> None:
    assert len(close_reason("é" * 200).encode()) == 120
    assert close_reason("A short one.") == "A short one."


async def test_a_client_that_stops_reading_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets, "SEND_TIMEOUT_SECONDS", 0.05)
    socket = ScriptedSocket(is_stuck=True)
    async with asyncio.timeout(5):
        await serve(new_hub(per_user=1, total=1), socket)
    assert socket.closed is not None
    assert socket.closed[0] == 1013
