"""Logging in, staying so, and what takes it away: at once, on every path."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlmodel import select

from perplex_mono.accounts.authentication import REMEMBERED_SECONDS
from perplex_mono.accounts.models import LoginSession, User
from perplex_mono.accounts.passwords import Passwords
from perplex_mono.storage.database import Database
from perplex_mono.storage.identity import utc_now
from tests.app_client import PASSWORD, App, local_client, open_app

LOGIN, REFRESH = "/api/v1/auth/login", "/api/v1/auth/refresh"


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[App]:
    async with open_app(tmp_path, limits={"login_attempts": 3}) as opened:
        await opened.set_up()
        yield opened


def _database(app: App) -> Database:
    return app.container.operations._database


async def _log_in(app: App, name: str = "ada", password: str = PASSWORD) -> httpx.Response:
    return await local_client(app.application).post(LOGIN, json={"name": name, "password": password})


async def _me(app: App, token: str) -> int:
    answer = await local_client(app.application).get("/api/v1/auth/me", headers={"Authorization": f"Bearer {token}"})
    return answer.status_code


async def _refresh(app: App, token: str) -> httpx.Response:
    return await local_client(app.application).post(REFRESH, json={"refresh_token": token})


async def _age(app: App, **changes: Any) -> None:
    """Change every login in the database, and forget what is remembered of it."""
    async with _database(app).write() as session:
        for login in (await session.exec(select(LoginSession))).all():
            for name, seconds in changes.items():
                setattr(login, name, utc_now() - timedelta(seconds=seconds))
    app.container.authenticator.forget()


async def test_name_and_password_give_tokens_and_neither_is_stored(app: App) -> None:
    tokens = (await _log_in(app, "ADA")).json()
    assert tokens["expires_in_seconds"] == 900
    assert await _me(app, tokens["access_token"]) == 200
    async with _database(app).read() as session:
        stored = " ".join(str(row.model_dump()) for row in (await session.exec(select(LoginSession))).all())
        stored += str((await session.exec(select(User))).one().model_dump())
    for secret in (tokens["access_token"], tokens["refresh_token"]):
        for part in secret.split("_", 2)[2].split("."):
            assert len(part) > 40
            assert part not in stored
    assert PASSWORD not in stored


async def test_a_wrong_name_and_a_wrong_password_are_told_alike(app: App) -> None:
    wrong_password, wrong_name = await _log_in(app, password="x" * 20), await _log_in(app, "eve")
    assert wrong_password.status_code == wrong_name.status_code == 401
    assert wrong_password.json()["detail"] == wrong_name.json()["detail"]


async def test_guessing_is_limited_and_says_when_to_come_back(app: App) -> None:
    for _ in range(3):
        assert (await _log_in(app, password="guess" * 4)).status_code == 401
    answer = await _log_in(app)
    assert answer.status_code == 429
    assert int(answer.headers["retry-after"]) > 300


async def test_a_refresh_token_is_good_once(app: App) -> None:
    first = (await _log_in(app)).json()
    second = (await _refresh(app, first["refresh_token"])).json()
    assert await _me(app, second["access_token"]) == 200
    assert await _me(app, first["access_token"]) in (200, 401)
    assert (await _refresh(app, first["refresh_token"])).status_code == 409, "a moment ago: perhaps a lost answer"
    assert (await _refresh(app, second["refresh_token"])).status_code == 200


async def test_a_refresh_token_in_two_hands_ends_the_login(app: App) -> None:
    first = (await _log_in(app)).json()
    second = (await _refresh(app, first["refresh_token"])).json()
    await _age(app, refreshed_at=11)
    assert (await _refresh(app, first["refresh_token"])).status_code == 401
    assert await _me(app, second["access_token"]) == 401
    assert (await _refresh(app, second["refresh_token"])).status_code == 401
    assert await _me(app, app.client.headers["Authorization"].removeprefix("Bearer ")) == 200, "another login"
    events = (await app.client.get("/api/v1/audit?action=token_reuse")).json()["items"]
    assert [event["outcome"] for event in events] == ["refused"]


async def test_a_thief_who_refreshed_twice_is_found_out_too(app: App) -> None:
    first = (await _log_in(app)).json()
    second = (await _refresh(app, first["refresh_token"])).json()
    third = (await _refresh(app, second["refresh_token"])).json()
    assert (await _refresh(app, first["refresh_token"])).status_code == 401
    assert (await _refresh(app, third["refresh_token"])).status_code == 401
    assert await _me(app, third["access_token"]) == 401


async def test_a_refresh_token_that_was_never_given_ends_nothing(app: App) -> None:
    tokens = (await _log_in(app)).json()
    kind, row_id, _ = tokens["refresh_token"].split("_", 2)
    for forged in ("A" * 43, "A" * 43 + "." + "A" * 43, "."):
        assert (await _refresh(app, f"{kind}_{row_id}_{forged}")).status_code == 401
    assert (await _refresh(app, tokens["refresh_token"])).status_code == 200


async def test_access_tokens_end_by_themselves_and_refresh_tokens_later(app: App) -> None:
    tokens = (await _log_in(app)).json()
    await _age(app, access_until=1)
    assert await _me(app, tokens["access_token"]) == 401
    fresh = (await _refresh(app, tokens["refresh_token"])).json()
    assert await _me(app, fresh["access_token"]) == 200
    await _age(app, expires_at=1)
    assert await _me(app, fresh["access_token"]) == 401
    assert (await _refresh(app, fresh["refresh_token"])).status_code == 401


@pytest.mark.parametrize("forged", ["", "x", "pma_{id}_" + "A" * 43, "pmr", "pmk_{id}_" + "A" * 43, "{refresh}"])
async def test_forged_tokens_are_refused(app: App, forged: str) -> None:
    tokens = (await _log_in(app)).json()
    row_id = tokens["access_token"].split("_")[1]
    assert await _me(app, forged.format(id=row_id, refresh=tokens["refresh_token"])) == 401
    assert (await _refresh(app, tokens["access_token"])).status_code == 401


async def test_logging_out_ends_this_login_alone(app: App) -> None:
    one, other = (await _log_in(app)).json(), (await _log_in(app)).json()
    client = local_client(app.application)
    header = {"Authorization": f"Bearer {one['access_token']}"}
    assert (await client.post("/api/v1/auth/logout", headers=header)).status_code == 204
    assert await _me(app, one["access_token"]) == 401
    assert (await _refresh(app, one["refresh_token"])).status_code == 401
    assert await _me(app, other["access_token"]) == 200


async def test_a_new_password_ends_the_other_logins(app: App) -> None:
    bob = await app.new_user("bob")
    elsewhere = await app.logged_in("bob")
    new = {"current_password": PASSWORD, "new_password": "another walk in the rain"}
    wrong = await bob.post("/api/v1/auth/password", json={**new, "current_password": "x" * 20})
    assert wrong.status_code == 401
    assert (await bob.post("/api/v1/auth/password", json=new)).status_code == 204
    assert (await bob.get("/api/v1/auth/me")).status_code == 200
    assert (await elsewhere.get("/api/v1/auth/me")).status_code == 401
    assert (await _log_in(app, "bob")).status_code == 401
    await app.logged_in("bob", new["new_password"])


async def test_a_disabled_user_is_refused_at_once_and_comes_back_without_old_credentials(app: App) -> None:
    bob = await app.new_user("bob")
    key = (await bob.post("/api/v1/api-keys", json={"name": "script"})).json()["secret"]
    (user,) = [user for user in (await app.client.get("/api/v1/users")).json()["items"] if user["name"] == "bob"]
    path = f"/api/v1/users/{user['id']}"
    assert (await app.client.patch(path, json={"is_disabled": True})).json()["is_disabled"] is True
    assert (await bob.get("/api/v1/auth/me")).status_code == 401
    assert await _me(app, key) == 401
    assert (await _log_in(app, "bob")).status_code == 401
    await app.client.patch(path, json={"is_disabled": False})
    assert await _me(app, key) == 401
    await app.logged_in("bob")


async def test_what_changes_behind_our_back_counts_within_seconds(app: App) -> None:
    token = (await _log_in(app)).json()["access_token"]
    assert await _me(app, token) == 200
    async with _database(app).write() as session:
        for login in (await session.exec(select(LoginSession))).all():
            login.revoked_at = utc_now()
    await asyncio.sleep(REMEMBERED_SECONDS)
    assert await _me(app, token) == 401


async def test_a_password_that_changes_while_it_is_checked_is_not_good_any_more(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    bob = await app.new_user("bob")
    verify = Passwords.verify
    is_checked, is_changed = asyncio.Event(), asyncio.Event()

    async def slow(hasher: Passwords, *arguments: Any) -> Any:
        result = await verify(hasher, *arguments)
        is_checked.set()
        await is_changed.wait()
        return result

    monkeypatch.setattr(Passwords, "verify", slow)
    login = asyncio.create_task(_log_in(app, "bob"))
    await is_checked.wait()
    monkeypatch.setattr(Passwords, "verify", verify)
    new = {"current_password": PASSWORD, "new_password": "another walk in the rain"}
    assert (await bob.post("/api/v1/auth/password", json=new)).status_code == 204
    is_changed.set()
    assert (await login).status_code == 401
    await app.logged_in("bob", new["new_password"])
