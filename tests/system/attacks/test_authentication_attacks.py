"""Attacks on accounts: forged, stolen and spent credentials, guessing, other people's things."""

import asyncio
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any
from uuid import uuid4

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from tests.app_client import PASSWORD
from tests.server_process import ServerProcess
from tests.system.attacks.hostile_client import MEGABYTE, bounded_growth, require_problem

PATIENCE_SECONDS = 30.0  # with slow machines; tests/unit/web/test_revocation.py holds the server to its five
REUSE_SECONDS = 10.0
FAILURES = 3
ANONYMOUS = 300
ENTRIES = 16


@pytest.fixture(scope="module")
def settings() -> Mapping[str, str]:
    """Few guesses."""
    return {
        "PERPLEX_LIMITS__LOGIN_ATTEMPTS": str(FAILURES),
        "PERPLEX_LIMITS__REQUESTS_PER_MINUTE_ANONYMOUS": str(ANONYMOUS),
    }


@pytest.fixture(scope="module")
def admin(server: ServerProcess) -> Iterator[httpx.Client]:
    """The administrator, who won a race of many set-ups."""
    base = f"{server.url}/api/v1"

    def set_up(number: int) -> httpx.Response:
        return httpx.post(f"{base}/auth/setup", json={"name": f"admin{number}", "password": PASSWORD}, timeout=60)

    with ThreadPoolExecutor(ENTRIES) as pool:
        answers = list(pool.map(set_up, range(ENTRIES)))
    (won,) = [answer for answer in answers if answer.status_code == 201]
    assert {answer.status_code for answer in answers} <= {201, 401, 403, 409, 429}
    with _client(server, won.json()["access_token"]) as client:
        yield client


class LoggedIn(httpx.Client):
    """The client of a user who logged in, and what the server gave it."""

    def __init__(self, server: ServerProcess, tokens: dict[str, Any]) -> None:
        self.access_token = str(tokens["access_token"])
        self.refresh_token = str(tokens["refresh_token"])
        self.user_id = str(tokens["user"]["id"])
        self.name = str(tokens["user"]["name"])
        headers = {"Authorization": f"Bearer {self.access_token}"}
        super().__init__(base_url=f"{server.url}/api/v1", headers=headers, timeout=60)


@pytest.fixture
def bob(server: ServerProcess, admin: httpx.Client) -> Iterator[LoggedIn]:
    """Another user, new for each attack."""
    name = f"bob-{uuid4().hex[:12]}"
    made = admin.post("/users", json={"name": name, "password": PASSWORD})
    assert made.status_code == 201, made.text
    with LoggedIn(server, _log_in(server, name).json()) as client:
        yield client


def _client(server: ServerProcess, token: str) -> httpx.Client:
    headers = {"Authorization": f"Bearer {token}"}
    return httpx.Client(base_url=f"{server.url}/api/v1", headers=headers, timeout=60)


def _log_in(server: ServerProcess, name: str, password: str = PASSWORD) -> httpx.Response:
    return httpx.post(f"{server.url}/api/v1/auth/login", json={"name": name, "password": password}, timeout=60)


def _refresh(server: ServerProcess, token: str) -> httpx.Response:
    return httpx.post(f"{server.url}/api/v1/auth/refresh", json={"refresh_token": token}, timeout=60)


def test_a46_of_many_set_ups_at_once_one_wins_and_none_after_it(server: ServerProcess, admin: httpx.Client) -> None:
    again = httpx.post(
        f"{server.url}/api/v1/auth/setup", json={"name": "eve", "password": PASSWORD, "token": "x"}, timeout=60
    )
    require_problem(again, 403, 409)
    assert len(admin.get("/users").json()["items"]) == 1


def test_a47_forged_tokens_are_nobodys(server: ServerProcess, bob: LoggedIn) -> None:
    kind, row, secret = bob.access_token.split("_", 2)
    forged = [
        "x",
        "null",
        "pma__",
        f"pma_{row}_",
        f"pma_{row}_{'A' * 43}",
        f"pma_{row}_{secret[:-1]}",
        f"pma_{row}_{secret}A",
        f"pmk_{row}_{secret}",
        f"pmr_{row}_{secret}",
        f"{kind.upper()}_{row}_{secret}",
        f"pma_%_{secret}",
        f"pma_' OR 1=1 --_{secret}",
        "eyJhbGciOiJub25lIn0.eyJzdWIiOiJsb2NhbCJ9.",
        "A" * 10_000,
        bob.refresh_token,
    ]
    for token in forged:
        require_problem(
            httpx.get(f"{server.url}/api/v1/auth/me", headers={"Authorization": f"Bearer {token}"}, timeout=60), 401
        )
    for header in (f"Basic {bob.access_token}", f"Bearer {bob.access_token}, Bearer x", "Bearer"):
        require_problem(httpx.get(f"{server.url}/api/v1/auth/me", headers={"Authorization": header}, timeout=60), 401)
    assert bob.get("/auth/me").status_code == 200


def test_a48_tokens_count_in_no_address_or_cookie_and_stand_in_no_log(server: ServerProcess, bob: LoggedIn) -> None:
    token, key = bob.access_token, bob.post("/api-keys", json={"name": "k", "scopes": ["read"]}).json()["secret"]
    me = f"{server.url}/api/v1/auth/me"
    for name in ("token", "access_token", "api_key", "key", "authorization"):
        require_problem(httpx.get(me, params={name: token}, cookies={name: token}, timeout=60), 401)
    assert httpx.get(me, headers={"Authorization": f"Bearer {key}"}, timeout=60).status_code == 200
    log = server.log()
    for secret in (token, key, bob.refresh_token, PASSWORD):
        assert secret not in log
        assert secret.encode() not in (server.data / "perplex.db").read_bytes()


def test_a49_what_is_revoked_is_refused_at_once(server: ServerProcess, admin: httpx.Client, bob: LoggedIn) -> None:
    made = bob.post("/api-keys", json={"name": "k", "scopes": ["read"]}).json()
    with _client(server, made["secret"]) as by_key:
        assert by_key.get("/auth/me").status_code == 200
        assert bob.delete(f"/api-keys/{made['key']['id']}").status_code == 204
        require_problem(by_key.get("/auth/me"), 401)
    assert admin.patch(f"/users/{bob.user_id}", json={"is_disabled": True}).status_code == 200
    require_problem(bob.get("/auth/me"), 401)
    require_problem(_refresh(server, bob.refresh_token), 401)


async def test_a50_a_feed_ends_with_the_right_to_it(server: ServerProcess, admin: httpx.Client, bob: LoggedIn) -> None:
    headers = {"Authorization": f"Bearer {bob.access_token}"}
    address = f"ws://127.0.0.1:{server.port}/ws/operations"
    async with connect(address, additional_headers=headers, proxy=None) as feed:
        await feed.recv()
        user = f"/users/{bob.user_id}"
        assert (await asyncio.to_thread(admin.patch, user, json={"is_disabled": True})).status_code == 200
        async with asyncio.timeout(PATIENCE_SECONDS):
            with suppress(ConnectionClosed):
                while True:
                    await feed.recv()
    assert feed.close_code == 4401


def test_a51_a_role_that_is_taken_is_gone_at_once(server: ServerProcess, admin: httpx.Client, bob: LoggedIn) -> None:
    user = f"/users/{bob.user_id}"
    assert admin.patch(user, json={"role": "admin"}).status_code == 200
    made = bob.post("/api-keys", json={"name": "k", "scopes": ["read", "admin"]})
    assert made.status_code == 201
    with _client(server, made.json()["secret"]) as by_key:
        assert by_key.get("/users").status_code == 200
        assert admin.patch(user, json={"role": "user"}).status_code == 200
        for client in (bob, by_key):
            require_problem(client.get("/users"), 403)
            require_problem(client.patch(user, json={"role": "admin"}), 403)


def test_a52_a_key_makes_nothing_stronger_than_itself(server: ServerProcess, bob: LoggedIn) -> None:
    for scopes in (["admin"], ["read", "admin"], ["root"], ["*"], [], ["read"] * 100, "admin"):
        require_problem(bob.post("/api-keys", json={"name": "k", "scopes": scopes}), 400, 403)
    reading = bob.post("/api-keys", json={"name": "k", "scopes": ["read"]}).json()["secret"]
    made = bob.post("/api-keys", json={"name": "k", "scopes": ["write"], "expires_in_days": 1}).json()
    with _client(server, reading) as reader, _client(server, made["secret"]) as writer:
        require_problem(reader.post("/collections", json={"name": "x"}), 403)
        require_problem(reader.post("/api-keys", json={"name": "x", "scopes": ["read"]}), 403)
        require_problem(writer.get("/collections"), 403)
        for longer in ({}, {"expires_in_days": 1}, {"expires_in_days": 3650}):
            require_problem(writer.post("/api-keys", json={"name": "x", "scopes": ["write"], **longer}), 403)
        require_problem(writer.delete(f"/api-keys/{made['key']['id']}"), 403)


def test_a53_a_refresh_token_that_comes_twice_ends_the_login(server: ServerProcess, bob: LoggedIn) -> None:
    oldest = _log_in(server, bob.name).json()["refresh_token"]
    thiefs = _refresh(server, _refresh(server, oldest).json()["refresh_token"]).json()
    require_problem(_refresh(server, oldest), 401)
    require_problem(_refresh(server, thiefs["refresh_token"]), 401)
    stolen = bob.refresh_token
    fresh = _refresh(server, stolen)
    assert fresh.status_code == 200
    require_problem(_refresh(server, stolen), 409)
    deadline = time.monotonic() + 2 * REUSE_SECONDS
    while _refresh(server, stolen).status_code == 409:
        assert time.monotonic() < deadline
        time.sleep(0.5)
    require_problem(_refresh(server, fresh.json()["refresh_token"]), 401)
    with _client(server, fresh.json()["access_token"]) as thief:
        require_problem(thief.get("/auth/me"), 401)


def test_a54_other_peoples_things_are_not_there(server: ServerProcess, admin: httpx.Client, bob: LoggedIn) -> None:
    form = [("files", ("secret.txt", b"The wreck lies off the northern reef"))]
    accepted = admin.post("/collections/default/documents", files=form).json()
    document, operation = accepted["documents"][0]["id"], accepted["operation_id"]
    collection = admin.get("/collections").json()["items"][0]["id"]
    for path in (f"/documents/{document}", f"/operations/{operation}", f"/collections/{collection}"):
        theirs = require_problem(bob.get(path), 404)
        nobodys = require_problem(bob.get(path.rsplit("/", 1)[0] + "/" + "0" * 36), 404)
        assert theirs["title"] == nobodys["title"]
        require_problem(bob.delete(path), 404, 405)
    found = bob.post("/search", json={"query": "wreck", "filters": {"document_ids": [document]}})
    assert found.json().get("hits", []) == []
    require_problem(bob.post("/search", json={"query": "wreck", "collection_ids": [collection]}), 404)


def test_a55_logins_do_not_tell_who_exists(server: ServerProcess, admin: httpx.Client, bob: LoggedIn) -> None:
    wrong, unknown = _log_in(server, bob.name, "not the password"), _log_in(server, "nobody-here", "not the password")
    assert wrong.status_code == unknown.status_code == 401
    told = [{key: value for key, value in answer.json().items() if key != "trace_id"} for answer in (wrong, unknown)]
    assert told[0] == told[1]


def test_a56_passwords_of_any_size_and_kind_are_answered(server: ServerProcess, bob: LoggedIn) -> None:
    with bounded_growth(server, 300 * MEGABYTE):
        for password in ("x" * 500_000, "", None, {"$ne": ""}, ["x"], "\0" * 20, "\U0001f511" * 300):
            answer = httpx.post(
                f"{server.url}/api/v1/auth/login", json={"name": "bob", "password": password}, timeout=60
            )
            require_problem(answer, 400, 401, 429)


def test_a57_guessing_is_slowed_down(server: ServerProcess, admin: httpx.Client, bob: LoggedIn) -> None:
    answers = [_log_in(server, bob.name, f"guess number {number}") for number in range(FAILURES + 1)]
    require_problem(answers[-1], 429)
    assert int(answers[-1].headers["retry-after"]) > 0
    require_problem(_log_in(server, bob.name), 429)
    assert bob.get("/auth/me").status_code == 200, "whoever is in stays in"


def test_a58_guessing_with_a_stolen_login_is_slowed_down(server: ServerProcess, bob: LoggedIn) -> None:
    given = {"new_password": "a password of the thief"}
    answers = [
        bob.post("/auth/password", json={"current_password": f"guess number {number}", **given})
        for number in range(FAILURES + 1)
    ]
    require_problem(answers[-1], 429)


def test_a59_strangers_are_limited_and_users_are_not_kept_out_by_them(
    server: ServerProcess, admin: httpx.Client
) -> None:
    with httpx.Client(base_url=server.url, timeout=60) as stranger:
        answers = [stranger.get("/api/v1/collections") for _ in range(2 * ANONYMOUS)]
    assert {answer.status_code for answer in answers} == {401, 429}
    refused = next(answer for answer in answers if answer.status_code == 429)
    require_problem(refused, 429)
    assert int(refused.headers["retry-after"]) > 0
    assert admin.get("/auth/me").status_code == 200


def test_a81_strangers_do_not_learn_why_a_component_is_not_well(
    server: ServerProcess, admin: httpx.Client, bob: LoggedIn
) -> None:
    def reasons(client: httpx.Client | None) -> list[str]:
        headers = {} if client is None else {"Authorization": client.headers["Authorization"]}
        components = httpx.get(f"{server.url}/ready", headers=headers, timeout=60).json()["components"]
        assert components["queue"]["status"] == "degraded"
        return [component["reason"] for component in components.values() if "reason" in component]

    assert reasons(admin)
    assert reasons(None) == reasons(bob) == []


async def test_a80_strangers_open_no_more_feeds_than_requests(server: ServerProcess, admin: httpx.Client) -> None:
    headers = {"Authorization": f"Bearer pmk_{'0' * 36}_{'A' * 43}"}
    codes = []
    while 1013 not in codes:
        async with connect(
            f"ws://127.0.0.1:{server.port}/ws/operations", additional_headers=headers, proxy=None
        ) as feed:
            with suppress(ConnectionClosed):
                await feed.recv()
        codes.append(feed.close_code)
        assert len(codes) <= 2 * ANONYMOUS
    assert set(codes) <= {4401, 1013}
