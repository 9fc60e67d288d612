"""Administrators and everybody's operations: what they see, what they may say, and what is written down of it."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.app_client import App, open_app


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[App]:
    """With the administrator Ada, as whom its own client calls."""
    async with open_app(tmp_path) as opened:
        await opened.set_up()
        yield opened


async def held_upload(app: App, client: httpx.AsyncClient, name: str) -> str:
    """An operation of the client's own that waits for the model."""
    app.embedder.turnstile.close()
    collection = (await client.post("/api/v1/collections", json={"name": name})).json()["id"]
    url = f"/api/v1/collections/{collection}/documents"
    accepted = await client.post(url, files=[("files", (f"{name}.txt", name.encode()))])
    return str(accepted.json()["operation_id"])


async def listed(client: httpx.AsyncClient, **query: str) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = (await client.get("/api/v1/all-operations", params=query)).json()["items"]
    return items


async def test_an_administrator_sees_whose_work_there_is(app: App) -> None:
    bob, carl = await app.new_user("bob"), await app.new_user("carl")
    of_bob, of_carl = await held_upload(app, bob, "nets"), await held_upload(app, carl, "sails")
    everything = await listed(app.client)
    assert [(item["operation"]["id"], item["owner_name"]) for item in everything] == [
        (of_carl, "carl"),
        (of_bob, "bob"),
    ]
    assert "nets.txt" not in str(everything), "which document is at work is its owner's to know"
    assert [item["operation"]["id"] for item in await listed(app.client, owner_id=everything[1]["owner_id"])] == [
        of_bob
    ]
    assert await listed(app.client, state="failed") == []
    first = (await app.client.get("/api/v1/all-operations", params={"limit": 1})).json()
    assert [item["operation"]["id"] for item in await listed(app.client, cursor=first["next_cursor"])] == [of_bob]
    assert (await app.client.get("/api/v1/operations")).json()["items"] == [], "those of one's own stay one's own"
    assert (await app.client.get(f"/api/v1/operations/{of_bob}")).status_code == 404


async def test_an_administrator_steers_it_and_that_is_written_down(app: App) -> None:
    bob = await app.new_user("bob")
    held = await held_upload(app, bob, "nets")
    for action, state in (("pause", "paused"), ("resume", "queued"), ("cancel", "cancelled"), ("retry", "queued")):
        answer = await app.client.post(f"/api/v1/all-operations/{held}/{action}")
        assert (answer.status_code, answer.json()["owner_name"]) == (200, "bob"), answer.text
        assert answer.json()["operation"]["state"] == state
    app.embedder.turnstile.open()
    app.client, ada = bob, app.client
    assert (await app.settle(held))["state"] == "completed"
    refused = await ada.post(f"/api/v1/all-operations/{held}/pause")
    assert (refused.status_code, refused.json()["type"]) == (409, "/problems/conflict")
    events = (await ada.get("/api/v1/audit", params={"action": "operation_steered"})).json()["items"]
    assert [(event["actor_name"], event["target"], event["details"]["action"]) for event in events] == [
        ("ada", held, action) for action in ("retry", "cancel", "resume", "pause")
    ]


async def test_nobody_else_does(app: App) -> None:
    bob, carl = await app.new_user("bob"), await app.new_user("carl")
    held = await held_upload(app, bob, "nets")
    for client in (bob, carl):
        assert (await client.get("/api/v1/all-operations")).status_code == 403
        assert (await client.post(f"/api/v1/all-operations/{held}/cancel")).status_code == 403
    assert (await bob.get(f"/api/v1/operations/{held}")).json()["state"] in ("queued", "running")


async def test_what_is_not_there_or_no_word_is_told(app: App) -> None:
    missing = await app.client.post("/api/v1/all-operations/0199f0a1-7c2e-7d1a-9b1e-3f0c2a1b4c5d/cancel")
    assert (missing.status_code, missing.json()["type"]) == (404, "/problems/not-found")
    unknown = await app.client.post("/api/v1/all-operations/0199f0a1-7c2e-7d1a-9b1e-3f0c2a1b4c5d/stop")
    assert unknown.status_code == 400
    assert "cancel, pause, resume, retry" in unknown.text
