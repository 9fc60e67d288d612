"""The calls that need accounts: each answers as written, with the fields that clients rely on."""

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.app_client import PASSWORD, App, local_client, open_app
from tests.contract.test_api import ACCOUNT_CALLS, names

USER = "id name role is_disabled created_at"
KEY = "id name scopes created_at expires_at last_used_at"
AUDIT = "id time action outcome actor_id actor_name target address details"
TOKENS = "access_token refresh_token expires_in_seconds user token_type"


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[App]:
    async with open_app(tmp_path) as opened:
        yield opened


class Calls:
    """Makes calls and remembers which."""

    def __init__(self, app: App) -> None:
        self._client = app.client
        self.made: dict[tuple[str, str], int] = {}

    async def __call__(self, method: str, path: str, body: Any = None, **key: str) -> Any:
        answer = await self._client.request(method, f"/api/v1{path}".format(**key), json=body)
        self.made[method, "/api/v1" + re.sub(r"\{\w+\}", "*", path)] = answer.status_code
        assert answer.status_code < 300, answer.text
        return answer.json() if answer.content else None


async def test_every_call_of_accounts_answers_as_written(app: App) -> None:
    call = Calls(app)
    tokens = await call("POST", "/auth/setup", {"name": "ada", "password": PASSWORD})
    assert set(tokens) == names(TOKENS)
    assert set(tokens["user"]) == names(USER)
    logged_in = await call("POST", "/auth/login", {"name": "ada", "password": PASSWORD})
    assert set(logged_in) == names(TOKENS)
    fresh = await call("POST", "/auth/refresh", {"refresh_token": logged_in["refresh_token"]})
    assert (set(fresh), fresh["token_type"]) == (names(TOKENS), "Bearer")
    app.client.headers["Authorization"] = f"Bearer {fresh['access_token']}"
    assert set(await call("GET", "/auth/me")) == names("id name credential scopes")

    bob = await call("POST", "/users", {"name": "bob", "password": PASSWORD})
    assert set(bob) == names(USER)
    assert set((await call("GET", "/users"))["items"][0]) == names(USER)
    assert set(await call("GET", "/users/{user}", user=bob["id"])) == names(USER)
    assert (await call("PATCH", "/users/{user}", {"role": "admin"}, user=bob["id"]))["role"] == "admin"

    made = await call("POST", "/api-keys", {"name": "script", "scopes": ["read", "write"], "expires_in_days": 7})
    assert (set(made), set(made["key"])) == (names("key secret"), names(KEY))
    assert set((await call("GET", "/api-keys"))["items"][0]) == names(KEY)
    await call("DELETE", "/api-keys/{key}", key=made["key"]["id"])

    papers = await app.new_collection("papers")
    share = await call("PUT", "/collections/{id}/shares", {"user": "bob", "access": "write"}, id=papers)
    assert set(share) == names("user_id user access created_at")
    assert (await call("GET", "/collections/{id}/shares", id=papers))["items"] == [share]
    await call("DELETE", "/collections/{id}/shares/{user}", id=papers, user=bob["id"])

    assert set((await call("GET", "/audit"))["items"][0]) == names(AUDIT)
    await call("POST", "/auth/password", {"current_password": PASSWORD, "new_password": "another walk in the rain"})
    await call("POST", "/auth/logout")
    assert call.made == ACCOUNT_CALLS


async def test_nothing_of_it_shows_a_secret(app: App) -> None:
    await app.set_up()
    secret = (await app.client.post("/api/v1/api-keys", json={"name": "script"})).json()["secret"].split("_", 2)[2]
    for path in ("/api/v1/api-keys", "/api/v1/users", "/api/v1/audit", "/api/v1/auth/me"):
        text = (await app.client.get(path)).text
        assert secret not in text
        assert "argon2" not in text
    stranger = await local_client(app.application).get("/api/v1/users", headers={"Authorization": f"Bearer x{secret}"})
    assert stranger.status_code == 401
    assert secret not in stranger.text
