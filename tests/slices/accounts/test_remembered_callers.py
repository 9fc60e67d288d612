"""Who was looked up is remembered for a moment, and never what a change has overtaken."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import select

from perplex_mono.accounts import authentication
from perplex_mono.accounts.authentication import Authenticator
from perplex_mono.accounts.models import ApiKey
from perplex_mono.accounts.repository import CredentialRepository
from perplex_mono.errors import StorageFull, Unauthenticated
from perplex_mono.web.sockets import CHECK_SECONDS
from tests.app_client import App, open_app


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[App]:
    async with open_app(tmp_path) as opened:
        await opened.set_up()
        yield opened


def _token(app: App) -> str:
    return app.client.headers["Authorization"].removeprefix("Bearer ")


async def test_what_was_looked_up_before_a_change_is_not_remembered_after_it(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    authenticator, find = app.container.authenticator, Authenticator._find
    is_found, may_go_on = asyncio.Event(), asyncio.Event()

    async def slow(*arguments: Any) -> Any:
        found = await find(*arguments)
        is_found.set()
        await may_go_on.wait()
        return found

    authenticator.forget()
    monkeypatch.setattr(Authenticator, "_find", slow)
    asked = asyncio.create_task(authenticator.identify(_token(app)))
    await is_found.wait()
    monkeypatch.setattr(Authenticator, "_find", find)
    caller = await authenticator.identify(_token(app))
    await app.container.logins.logout(caller, address="127.0.0.1")
    may_go_on.set()
    await asked  # asked before the logout: what it was told then was so
    with pytest.raises(Unauthenticated):
        await authenticator.identify(_token(app))
    assert not await authenticator.is_valid(caller)


@pytest.mark.parametrize("change", ["revoked", "disabled"])
async def test_an_open_feed_that_looks_again_is_told_at_once_what_changed(app: App, change: str) -> None:
    hub, authenticator, bob = app.container.hub, app.container.authenticator, await app.new_user("bob")
    made = (await bob.post("/api/v1/api-keys", json={"name": "feed"})).json()
    caller = await authenticator.identify(made["secret"])
    assert (hub._is_valid, hub._check_seconds) == (authenticator.is_valid, CHECK_SECONDS)
    assert await hub._is_valid(caller)
    assert authenticator._remembered(caller.credential_id) is not None
    if change == "revoked":
        answer = await bob.delete(f"/api/v1/api-keys/{made['key']['id']}")
    else:
        answer = await app.client.patch(f"/api/v1/users/{caller.user_id}", json={"is_disabled": True})
    assert answer.is_success
    assert not await hub._is_valid(caller)


async def test_looking_at_every_request_is_not_needed(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[None] = []
    find = Authenticator._find

    async def counted(*arguments: Any) -> Any:
        looks.append(None)
        return await find(*arguments)

    monkeypatch.setattr(Authenticator, "_find", counted)
    monkeypatch.setattr(authentication, "REMEMBERED_SECONDS", 3600.0)
    app.container.authenticator.forget()
    for _ in range(5):
        assert (await app.client.get("/api/v1/auth/me")).status_code == 200
    assert len(looks) == 1


async def test_a_use_that_could_not_be_written_down_is_written_later(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    made = (await app.client.post("/api/v1/api-keys", json={"name": "script"})).json()
    authenticator = app.container.authenticator
    await authenticator.identify(made["secret"])

    def full(*_: object, **__: object) -> None:
        raise StorageFull("The disk is full.")

    monkeypatch.setattr(CredentialRepository, "note_use", full)
    with pytest.raises(StorageFull):
        await authenticator.write_uses()
    monkeypatch.undo()
    await authenticator.write_uses()
    async with app.container.operations._database.read() as session:
        assert (await session.exec(select(ApiKey))).one().last_used_at is not None
    assert authenticator._uses == {}
