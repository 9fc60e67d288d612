"""Feeds over real WebSockets on a real server: close codes that reach the client, replay, caps, a clean stop."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.server_process import ServerProcess, running_server

SECONDS = 60.0
PER_USER = 4


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    environment = {
        "PERPLEX_LIMITS__SOCKETS_PER_USER": str(PER_USER),
        "PERPLEX_QUEUE__EMBEDDED_REDIS": "false",
        "PERPLEX_QUEUE__POLL_SECONDS": "0.1",
    }
    with running_server(tmp_path_factory.mktemp("sockets"), environment) as started:
        yield started


@pytest.fixture(scope="module")
def operation(server: ServerProcess) -> dict[str, Any]:
    """A finished operation."""
    accepted = server.upload(("a.txt", b"Words of the first file."), ("b.txt", b"Words of the second."))
    return server.wait_operation(accepted["operation_id"])


def open_feed(server: ServerProcess, path: str, **headers: str) -> connect:
    return connect(f"ws://127.0.0.1:{server.port}{path}", additional_headers=headers, proxy=None)


async def take(feed: ClientConnection, count: int) -> list[dict[str, Any]]:
    async with asyncio.timeout(SECONDS):
        return [json.loads(await feed.recv()) for _ in range(count)]


async def closing(feed: ClientConnection) -> tuple[int, str]:
    """The code and reason with which the server closes."""
    async with asyncio.timeout(SECONDS):
        with suppress(ConnectionClosed):
            while True:
                await feed.recv()
    return feed.close_code or 0, feed.close_reason or ""


def stored_events(server: ServerProcess, operation_id: str) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = httpx.get(f"{server.url}/api/v1/operations/{operation_id}/events", timeout=60).json()[
        "items"
    ]
    return items


async def test_a_replay_gives_every_event_as_it_is_stored(server: ServerProcess, operation: dict[str, Any]) -> None:
    events = stored_events(server, operation["id"])
    async with open_feed(server, f"/ws/operations/{operation['id']}?after=0") as feed:
        assert await take(feed, len(events)) == events
    middle = events[len(events) // 2]["seq"]
    async with open_feed(server, f"/ws/operations?after={middle}") as feed:
        later = [event for event in events if event["seq"] > middle]
        assert await take(feed, len(later)) == later


async def test_a_reconnect_in_the_middle_loses_and_repeats_nothing(server: ServerProcess) -> None:
    async with open_feed(server, "/ws/operations") as feed:
        (snapshot,) = await take(feed, 1)
        accepted = await asyncio.to_thread(
            server.upload, *[(f"{n}.txt", b"Own words of file number %d." % n) for n in range(5)]
        )
        first = await take(feed, 4)
    after = first[-1]["seq"]
    seen = list(first)
    async with open_feed(server, f"/ws/operations/{accepted['operation_id']}?after={after}") as feed:
        while seen[-1]["type"] != "completed":
            seen += await take(feed, 1)
    numbers = [event["seq"] for event in seen]
    assert numbers == sorted(set(numbers))
    stored = stored_events(server, accepted["operation_id"])
    assert {event["seq"] for event in stored} <= set(numbers), "only superseded progress is missing from the ledger"
    assert {event["type"] for event in seen if event["seq"] not in {e["seq"] for e in stored}} <= {"progress"}
    assert snapshot["data"]["after"] < numbers[0]


async def test_a_snapshot_carries_no_number(server: ServerProcess, operation: dict[str, Any]) -> None:
    async with open_feed(server, f"/ws/operations/{operation['id']}") as feed:
        (snapshot,) = await take(feed, 1)
    assert (snapshot["type"], "seq" in snapshot) == ("snapshot", False)
    assert [item["id"] for item in snapshot["data"]["operations"]] == [operation["id"]]
    assert snapshot["data"]["operations"][0]["state"] == "completed"


async def test_an_unknown_operation_is_4404(server: ServerProcess) -> None:
    async with open_feed(server, "/ws/operations/0198c0de-0000-7000-8000-000000000000") as feed:
        code, reason = await closing(feed)
    assert code == 4404
    assert "no operation" in reason


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"X-Forwarded-For": "10.0.0.1"},
        {"Forwarded": "for=10.0.0.1"},
    ],
)
async def test_other_sites_are_4403(server: ServerProcess, operation: dict[str, Any], headers: dict[str, str]) -> None:
    for path in ("/ws/operations?after=0", f"/ws/operations/{operation['id']}?after=0"):
        async with open_feed(server, path, **headers) as feed:
            with pytest.raises(ConnectionClosed) as closed:
                await take(feed, 1)
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 4403


async def test_our_own_pages_may_connect(server: ServerProcess) -> None:
    async with open_feed(server, "/ws/operations", Origin=server.url) as feed:
        assert (await take(feed, 1))[0]["type"] == "snapshot"


@pytest.mark.parametrize("after", ["-1", "x", "1.5", "", "9" * 19, "%C2%B2"])
async def test_a_number_that_is_none_closes_with_the_reason(server: ServerProcess, after: str) -> None:
    async with open_feed(server, f"/ws/operations?after={after}") as feed:
        code, reason = await closing(feed)
    assert code == 1008
    assert "after" in reason


async def test_a_number_that_was_never_given_gets_a_gap_and_how_things_are(server: ServerProcess) -> None:
    async with open_feed(server, "/ws/operations?after=999999999") as feed:
        gap, snapshot = await take(feed, 2)
    assert (gap["type"], gap["data"]["after"]) == ("gap", 999999999)
    assert "restored" in gap["data"]["reason"]
    assert snapshot["type"] == "snapshot"
    assert snapshot["data"]["after"] < 999999999


async def test_a_user_has_so_many_feeds_and_gets_them_back(server: ServerProcess) -> None:
    await asyncio.to_thread(_until_no_feed_is_open, server)
    async with several(server, PER_USER) as feeds:
        for feed in feeds:
            assert (await take(feed, 1))[0]["type"] == "snapshot"
        async with open_feed(server, "/ws/operations") as refused:
            code, reason = await closing(refused)
        assert code == 1008
        assert str(PER_USER) in reason
    async with asyncio.timeout(SECONDS):
        while True:
            async with open_feed(server, "/ws/operations") as feed:
                if json.loads(await feed.recv())["type"] == "snapshot":
                    break


def _until_no_feed_is_open(server: ServerProcess) -> None:
    deadline = time.monotonic() + SECONDS
    while "active_websocket_connections 0.0" not in httpx.get(f"{server.url}/metrics", timeout=60).text:
        assert time.monotonic() < deadline
        time.sleep(0.05)


@asynccontextmanager
async def several(server: ServerProcess, count: int) -> AsyncIterator[list[ClientConnection]]:
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(open_feed(server, "/ws/operations")) for _ in range(count)]


async def test_a_large_message_is_1009(server: ServerProcess) -> None:
    async with open_feed(server, "/ws/operations") as feed:
        await take(feed, 1)
        await feed.send("x" * 5000)
        assert (await closing(feed))[0] == 1009


async def test_small_messages_are_taken_for_signs_of_life(server: ServerProcess) -> None:
    async with open_feed(server, "/ws/operations") as feed:
        await take(feed, 1)
        for _ in range(5):
            await feed.send('{"type": "pong"}')
        accepted = await asyncio.to_thread(server.upload, ("alive.txt", b"Still alive, says the feed."))
        assert (await take(feed, 1))[0]["operation_id"] == accepted["operation_id"]
    await asyncio.to_thread(server.wait_operation, accepted["operation_id"])


async def test_a_stopping_server_closes_its_feeds_with_1012(server: ServerProcess, operation: dict[str, Any]) -> None:
    """The last test of the module: the server is gone after it."""
    async with several(server, 3) as feeds:
        for feed in feeds:
            await take(feed, 1)
        stopping = asyncio.create_task(asyncio.to_thread(server.stop))
        codes = [(await closing(feed))[0] for feed in feeds]
        assert await stopping == 0
    assert codes == [1012] * 3
