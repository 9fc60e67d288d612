"""Users, API keys and the log of both."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from sqlmodel import select

from perplex_mono.accounts.models import ApiKey, AuditEvent, LoginSession
from perplex_mono.storage.identity import utc_now
from tests.app_client import PASSWORD, App, local_client, open_app

KEYS, USERS = "/api/v1/api-keys", "/api/v1/users"


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[App]:
    async with open_app(tmp_path) as opened:
        await opened.set_up()
        yield opened


async def _with_key(app: App, owner: httpx.AsyncClient, *scopes: str) -> httpx.AsyncClient:
    answer = await owner.post(KEYS, json={"name": "script", "scopes": list(scopes)})
    assert answer.status_code == 201, answer.text
    client = local_client(app.application)
    client.headers["Authorization"] = f"Bearer {answer.json()['secret']}"
    return client


async def test_a_user_begins_with_a_default_collection_of_its_own(app: App) -> None:
    await app.ingest(("walrus.txt", b"Walruses rest on the ice."))
    bob = await app.new_user("bob")
    (collection,) = (await bob.get("/api/v1/collections")).json()["items"]
    assert (collection["name"], collection["document_count"]) == ("default", 0)
    assert (await bob.post("/api/v1/search", json={"query": "walruses"})).json()["hits"] == []


async def test_names_are_taken_whatever_their_case_and_admins_alone_make_users(app: App) -> None:
    bob = await app.new_user("Bob")
    body = {"name": "BOB", "password": PASSWORD}
    assert (await app.client.post(USERS, json=body)).status_code == 409
    for answer in (await bob.post(USERS, json=body), await bob.get(USERS), await bob.get("/api/v1/audit")):
        assert (answer.status_code, answer.json()["type"]) == (403, "/problems/forbidden")


async def test_users_come_in_pages_by_name(app: App) -> None:
    for name in ("dora", "bob", "carl"):
        await app.client.post(USERS, json={"name": name, "password": PASSWORD})
    first = (await app.client.get(USERS, params={"limit": 3})).json()
    rest = (await app.client.get(USERS, params={"limit": 3, "cursor": first["next_cursor"]})).json()
    assert [user["name"] for user in first["items"] + rest["items"]] == ["ada", "bob", "carl", "dora"]
    assert rest["next_cursor"] is None
    assert (await app.client.get(f"{USERS}/nobody")).status_code == 404


async def test_somebody_must_remain_an_administrator(app: App) -> None:
    path = f"{USERS}/{(await app.client.get('/api/v1/auth/me')).json()['id']}"
    assert (await app.client.patch(path, json={"role": "user"})).status_code == 409
    assert (await app.client.patch(path, json={"is_disabled": True})).status_code == 409
    await app.new_user("bob", "admin")
    assert (await app.client.patch(path, json={"role": "user"})).status_code == 200
    assert (await app.client.get(USERS)).status_code == 403, "at once"


async def test_a_key_does_what_its_scopes_say(app: App) -> None:
    reader, writer = await _with_key(app, app.client, "read"), await _with_key(app, app.client, "write")
    assert (await reader.get("/api/v1/collections")).status_code == 200
    refused = await reader.post("/api/v1/collections", json={"name": "x"})
    assert refused.status_code == 403
    assert "'write'" in refused.json()["detail"]
    assert (await writer.post("/api/v1/collections", json={"name": "x"})).status_code == 201
    assert (await writer.get("/api/v1/collections")).status_code == 403
    assert (await reader.get("/metrics")).status_code == 403
    assert (await (await _with_key(app, app.client, "admin")).get("/metrics")).status_code == 200


async def test_a_key_never_does_more_than_its_user_or_its_maker(app: App) -> None:
    bob = await app.new_user("bob")
    assert (await bob.post(KEYS, json={"name": "x", "scopes": ["admin"]})).status_code == 403
    admin = await app.new_user("carl", "admin")
    key = await _with_key(app, admin, "admin", "read")
    (carl,) = [user for user in (await app.client.get(USERS)).json()["items"] if user["name"] == "carl"]
    await app.client.patch(f"{USERS}/{carl['id']}", json={"role": "user"})
    assert (await key.get(USERS)).status_code == 403
    assert (await key.get("/api/v1/collections")).status_code == 200


async def test_a_key_neither_makes_keys_nor_ends_them(app: App) -> None:
    key = await _with_key(app, app.client, "read", "write", "admin")
    (listed,) = (await key.get(KEYS)).json()["items"]
    for refused in (await key.post(KEYS, json={"name": "y"}), await key.delete(f"{KEYS}/{listed['id']}")):
        assert refused.status_code == 403
        assert "logged in" in refused.json()["detail"]
    (kept,) = (await app.client.get(KEYS)).json()["items"]
    assert kept["id"] == listed["id"]


async def test_when_a_key_was_used_outlives_the_server(tmp_path: Path) -> None:
    async with open_app(tmp_path) as app:
        await app.set_up()
        key = await _with_key(app, app.client, "read")
        assert (await key.get("/api/v1/collections")).status_code == 200
        (used,) = (await app.client.get(KEYS)).json()["items"]
    async with open_app(tmp_path) as app:
        ada = await app.logged_in("ada")
        assert (await ada.get(KEYS)).json()["items"] == [used]


async def test_a_key_is_shown_once_kept_as_a_hash_and_revoked_at_once(app: App) -> None:
    made = (await app.client.post(KEYS, json={"name": "script", "expires_in_days": 30})).json()
    (listed,) = (await app.client.get(KEYS)).json()["items"]
    assert listed == made["key"]
    assert "secret" not in listed
    assert listed["last_used_at"] is None
    client = local_client(app.application)
    client.headers["Authorization"] = f"Bearer {made['secret']}"
    assert (await client.get("/api/v1/collections")).status_code == 200
    assert (await app.client.get(KEYS)).json()["items"][0]["last_used_at"] is not None
    assert (await app.client.delete(f"{KEYS}/{listed['id']}")).status_code == 204
    assert (await client.get("/api/v1/collections")).status_code == 401
    assert (await app.client.get(KEYS)).json()["items"] == []
    assert (await app.client.delete(f"{KEYS}/{listed['id']}")).status_code == 404


async def test_a_key_expires(app: App) -> None:
    client = await _with_key(app, app.client, "read")
    async with app.container.operations._database.write() as session:
        (await session.exec(select(ApiKey))).one().expires_at = utc_now() - timedelta(seconds=1)
    app.container.authenticator.forget()
    answer = await client.get("/api/v1/collections")
    assert answer.status_code == 401
    assert "expired" in answer.json()["detail"]


async def test_keys_of_others_are_not_there(app: App) -> None:
    key = (await app.client.post(KEYS, json={"name": "mine"})).json()["key"]
    bob = await app.new_user("bob", "admin")
    assert (await bob.get(KEYS)).json()["items"] == []
    assert (await bob.delete(f"{KEYS}/{key['id']}")).status_code == 404


async def test_what_concerns_security_is_written_down(app: App) -> None:
    bob = await app.new_user("bob")
    key = (await bob.post(KEYS, json={"name": "script"})).json()["key"]
    await bob.delete(f"{KEYS}/{key['id']}")
    wrong = {"name": "bob", "password": "x" * 20}
    await local_client(app.application).post("/api/v1/auth/login", json=wrong, headers={"User-Agent": "x"})
    events = (await app.client.get("/api/v1/audit")).json()["items"]
    told = [(event["action"], event["outcome"], event["actor_name"], event["target"]) for event in events]
    assert told == [
        ("login", "refused", "", "bob"),
        ("key_revoked", "allowed", "bob", "script"),
        ("key_created", "allowed", "bob", "script"),
        ("login", "allowed", "bob", "bob"),
        ("user_created", "allowed", "ada", "bob"),
        ("login", "allowed", "ada", "ada"),
        ("setup", "allowed", "", "ada"),
    ]
    assert {event["address"] for event in events} == {"127.0.0.1"}
    mine = (await app.client.get("/api/v1/audit", params={"user_id": events[1]["actor_id"], "limit": 2})).json()
    assert [event["action"] for event in mine["items"]] == ["key_revoked", "key_created"]
    assert mine["next_cursor"]


async def test_old_events_and_ended_logins_are_forgotten(app: App) -> None:
    elsewhere = await app.logged_in("ada")
    await elsewhere.post("/api/v1/auth/logout")
    async with app.container.operations._database.write() as session:
        for event in (await session.exec(select(AuditEvent).where(AuditEvent.action == "setup"))).all():
            event.time = utc_now() - timedelta(days=366)
    await app.container.housekeeper.round()
    events = (await app.client.get("/api/v1/audit")).json()["items"]
    assert {event["action"] for event in events} == {"login", "logout"}
    async with app.container.operations._database.read() as session:
        assert len((await session.exec(select(LoginSession))).all()) == 1


async def test_local_mode_has_neither(tmp_path: Path) -> None:
    async with open_app(tmp_path / "other") as app:
        assert (await app.client.post(KEYS, json={"name": "x"})).status_code == 409
        assert (await app.client.post(USERS, json={"name": "bob", "password": PASSWORD})).status_code == 409
        assert (await app.client.post("/api/v1/auth/logout")).status_code == 409
        assert (await app.client.get("/api/v1/auth/me")).json()["credential"] == "local"
