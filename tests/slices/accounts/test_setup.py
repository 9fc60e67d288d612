"""The first user: local mode ends with it, everything stays where it is, and there is only one first."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from perplex_mono.errors import ConfigurationError
from tests.app_client import PASSWORD, App, local_client, open_app

SET_UP = "/api/v1/auth/setup"
FIRST = {"name": "ada", "password": PASSWORD}


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[App]:
    async with open_app(tmp_path) as opened:
        yield opened


@pytest.fixture
async def closed(tmp_path: Path) -> AsyncIterator[App]:
    async with open_app(tmp_path, server={"host": "0.0.0.0"}) as opened:
        yield opened


def _token(app: App) -> str:
    return app.container.accounts.told_setup_token()["setup_code"]


async def test_the_first_user_has_what_local_mode_had(app: App) -> None:
    (document,) = await app.ingest(("walrus.txt", b"Walruses rest on the ice."))
    await app.set_up()
    me = (await app.client.get("/api/v1/auth/me")).json()
    assert (me["name"], me["scopes"], me["credential"]) == ("ada", ["admin", "read", "write"], "session")
    assert (await app.document(document["id"]))["name"] == "walrus.txt"
    assert await app.names_found("walruses") == ["walrus.txt"]


async def test_from_then_on_everybody_logs_in(app: App) -> None:
    await app.set_up()
    stranger = local_client(app.application)
    answer = await stranger.get("/api/v1/collections")
    assert (answer.status_code, answer.json()["type"]) == (401, "/problems/unauthenticated")
    assert answer.headers["www-authenticate"] == "Bearer"
    assert (await stranger.get("/health")).status_code == 200
    assert (await stranger.get("/metrics")).status_code == 401


async def test_there_is_one_first_user_even_if_many_try_at_once(app: App) -> None:
    answers = await asyncio.gather(
        *(app.client.post(SET_UP, json={"name": f"user{number}", "password": PASSWORD}) for number in range(5))
    )
    assert sorted(answer.status_code for answer in answers) == [201, 409, 409, 409, 409]


async def test_a_closed_server_takes_the_first_user_with_its_token_only(closed: App) -> None:
    for path in ("/api/v1/collections", "/api/v1/auth/login", "/metrics", "/schema/openapi.json"):
        assert (await closed.client.get(path)).status_code == 403
    assert (await closed.client.get("/health")).status_code == 200
    for token in ("", "guess", _token(closed) + "x"):
        answer = await closed.client.post(SET_UP, json={**FIRST, "token": token})
        assert (answer.status_code, answer.json()["type"]) == (403, "/problems/forbidden")
    answer = await closed.client.post(SET_UP, json={**FIRST, "token": _token(closed)})
    assert answer.status_code == 201
    closed.client.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"
    assert (await closed.client.get("/api/v1/collections")).status_code == 200
    again = await closed.client.post(SET_UP, json={**FIRST, "name": "eve", "token": _token(closed)})
    assert again.status_code == 409


async def test_the_token_may_come_from_a_file_and_must_be_long(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("0123456789abcdef0123456789abcdef\n")
    async with open_app(tmp_path / "data", server={"host": "0.0.0.0"}, auth={"setup_token_file": str(file)}) as app:
        assert "0123456789abcdef" not in str(app.container.accounts.told_setup_token())
        answer = await app.client.post(SET_UP, json={**FIRST, "token": "0123456789abcdef0123456789abcdef"})
        assert answer.status_code == 201


@pytest.mark.parametrize("body", [{"name": "ada", "password": "short"}, {"name": "a b", "password": PASSWORD}, {}])
async def test_a_bad_first_user_is_refused_and_the_server_stays_as_it_was(app: App, body: dict[str, str]) -> None:
    answer: httpx.Response = await app.client.post(SET_UP, json=body)
    assert answer.status_code == 400
    assert (await app.client.get("/api/v1/collections")).status_code == 200


async def test_users_remain_after_a_restart(tmp_path: Path) -> None:
    async with open_app(tmp_path) as app:
        await app.set_up()
    async with open_app(tmp_path) as app:
        assert (await app.client.get("/api/v1/collections")).status_code == 401
        ada = await app.logged_in("Ada")
        assert (await ada.get("/api/v1/collections")).status_code == 200


async def test_a_short_token_is_refused_at_the_start(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("x" * 31)
    with pytest.raises(ConfigurationError, match="31 characters; it needs at least 32"):
        async with open_app(tmp_path / "data", server={"host": "0.0.0.0"}, auth={"setup_token_file": str(file)}):
            pass
