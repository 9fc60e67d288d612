"""Feeds of a server with accounts, over real WebSockets: who may open one, and that it closes with the right."""

import asyncio
import re
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from tests.app_client import PASSWORD
from tests.contract.test_api import SOCKETS
from tests.server_process import ServerProcess, running_server

SECONDS = 60.0
REVOKED_WITHIN_SECONDS = 5.0
PER_MINUTE = 5


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    environment = {"PERPLEX_QUEUE__EMBEDDED_REDIS": "false", "PERPLEX_OCR__ENGINE": "none"}
    with running_server(tmp_path_factory.mktemp("account-sockets"), environment) as started:
        yield started


@pytest.fixture(scope="module")
def admin(server: ServerProcess) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"{server.url}/api/v1", timeout=30) as client:
        tokens = client.post("/auth/setup", json={"name": "ada", "password": PASSWORD}).json()
        client.headers["Authorization"] = f"Bearer {tokens['access_token']}"
        yield client


def _key(client: httpx.Client, *scopes: str) -> tuple[str, str]:
    """A new key's id and secret."""
    made = client.post("/api-keys", json={"name": "feed", "scopes": list(scopes)}).json()
    return made["key"]["id"], made["secret"]


def _feed(server: ServerProcess, token: str | None = None, path: str = "/ws/operations", **options: Any) -> connect:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return connect(f"ws://127.0.0.1:{server.port}{path}", additional_headers=headers, proxy=None, **options)


async def _closing(feed: ClientConnection) -> int | None:
    async with asyncio.timeout(SECONDS):
        with suppress(ConnectionClosed):
            while True:
                await feed.recv()
    return feed.close_code


async def _first_word(feed: ClientConnection) -> str:
    """Its first message, if it was not closed at once; it is closed then."""
    async with asyncio.timeout(SECONDS):
        try:
            return str(await feed.recv())
        except ConnectionClosed:
            return ""
        finally:
            await feed.close()


@pytest.mark.parametrize("token", [None, "x", "pmk_row_secret"])
async def test_without_a_good_token_it_is_accepted_and_closed_with_4401(
    server: ServerProcess, admin: httpx.Client, token: str | None
) -> None:
    async with _feed(server, token) as feed:
        assert await _closing(feed) == 4401


async def test_a_browser_sends_the_token_as_a_subprotocol_which_comes_back(
    server: ServerProcess, admin: httpx.Client
) -> None:
    protocol = Subprotocol(f"access_token.{_key(admin, 'read')[1]}")
    async with _feed(server, subprotocols=[protocol]) as feed:
        assert feed.subprotocol == protocol
        assert "snapshot" in str(await feed.recv())


async def test_a_key_that_may_not_read_gets_no_feed(server: ServerProcess, admin: httpx.Client) -> None:
    async with _feed(server, _key(admin, "write")[1]) as feed:
        assert await _closing(feed) == 4403


async def test_pages_of_other_sites_get_no_feed_even_with_a_token(server: ServerProcess, admin: httpx.Client) -> None:
    async with _feed(server, _key(admin, "read")[1], origin="https://evil.example") as feed:
        assert await _closing(feed) == 4403


async def test_it_closes_within_seconds_when_the_key_is_revoked_and_the_others_stay(
    server: ServerProcess, admin: httpx.Client
) -> None:
    (revoked_id, revoked), (_, kept) = _key(admin, "read"), _key(admin, "read")
    async with _feed(server, revoked) as ending, _feed(server, kept) as staying:
        await ending.recv()
        await staying.recv()
        await asyncio.to_thread(admin.delete, f"/api-keys/{revoked_id}")
        assert await _closing(ending) == 4401
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(REVOKED_WITHIN_SECONDS):
                await staying.recv()


async def test_it_closes_when_its_user_is_disabled(server: ServerProcess, admin: httpx.Client) -> None:
    named = {"name": "bob", "password": PASSWORD}
    bob = (await asyncio.to_thread(admin.post, "/users", json=named)).json()
    tokens = (await asyncio.to_thread(admin.post, "/auth/login", json=named)).json()
    async with _feed(server, tokens["access_token"]) as feed:
        await feed.recv()
        await asyncio.to_thread(admin.patch, f"/users/{bob['id']}", json={"is_disabled": True})
        assert await _closing(feed) == 4401


async def test_opening_feeds_counts_as_requests_of_their_user_and_of_nobody_else(
    server: ServerProcess, admin: httpx.Client
) -> None:
    named = {"name": "dora", "password": PASSWORD}
    await asyncio.to_thread(admin.post, "/users", json=named)
    dora = (await asyncio.to_thread(admin.post, "/auth/login", json=named)).json()["access_token"]
    await asyncio.to_thread(admin.patch, "/settings", json={"limits.requests_per_minute_user": PER_MINUTE})
    try:
        opened, feed = 0, await _feed(server, dora)
        while "snapshot" in await _first_word(feed):
            opened, feed = opened + 1, await _feed(server, dora)
            assert opened <= 2 * PER_MINUTE
        assert opened >= PER_MINUTE
        assert feed.close_code == 1013
        assert re.fullmatch(r"Too many requests; try again in \d+ s\.", feed.close_reason or "")
        headers = {"Authorization": f"Bearer {dora}"}
        request = await asyncio.to_thread(httpx.get, f"{server.url}/api/v1/auth/me", headers=headers)
        assert request.status_code == 429, "one count for both"
        async with _feed(server, _key(admin, "read")[1]) as feed:
            assert "snapshot" in str(await feed.recv())
    finally:
        await asyncio.to_thread(admin.patch, "/settings", json={"limits.requests_per_minute_user": None})


async def test_the_feeds_of_somebody_else_are_not_there(server: ServerProcess, admin: httpx.Client) -> None:
    """Every feed that there is, asked for as a stranger with Ada's ids; and Ada's numbers are not in Bob's own."""
    form = [("files", ("tide.txt", b"The tide turns twice a day."))]
    accepted = (await asyncio.to_thread(admin.post, "/collections/default/documents", files=form)).json()
    named = {"name": "carl", "password": PASSWORD}
    await asyncio.to_thread(admin.post, "/users", json=named)
    tokens = (await asyncio.to_thread(admin.post, "/auth/login", json=named)).json()
    carl = tokens["access_token"]
    of_adas = [path for path in SOCKETS if "{" in path]
    assert len(of_adas) == len(SOCKETS) - 1
    for path in of_adas:
        address = re.sub(r"\{\w+\}", accepted["operation_id"], path)
        async with _feed(server, carl, path=address) as feed:
            assert await _closing(feed) == 4404
    async with _feed(server, carl) as now, _feed(server, carl, path="/ws/operations?after=0") as replayed:
        assert accepted["operation_id"] not in str(await now.recv())
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(3):
                await replayed.recv()
