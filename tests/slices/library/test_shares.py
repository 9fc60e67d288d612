"""Sharing a collection: what each right lets somebody do, that it ends at once, and who may give it."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from tests.app_client import App, open_app

FILES = [("files", ("otter.txt", b"Otters hold hands while they sleep in kelp."))]


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[App]:
    async with open_app(tmp_path) as opened:
        await opened.set_up()
        yield opened


async def _shared(app: App, access: str) -> tuple[str, str, httpx.AsyncClient]:
    """A collection of Ada's with a document, both shared with Bob; their ids and Bob's client."""
    papers = await app.new_collection("papers")
    (document,) = await app.ingest(("walrus.txt", b"Walruses rest on the ice."), collection=papers)
    bob = await app.new_user("bob")
    body = {"user": "Bob", "access": access}
    assert (await app.client.put(f"/api/v1/collections/{papers}/shares", json=body)).status_code == 200
    return papers, document["id"], bob


async def test_a_reader_finds_and_opens_but_changes_nothing(app: App) -> None:
    papers, document, bob = await _shared(app, "read")
    listed = {item["name"]: item["access"] for item in (await bob.get("/api/v1/collections")).json()["items"]}
    assert listed == {"default": "own", "papers": "read"}
    found = await bob.post("/api/v1/search", json={"query": "walruses", "collection_ids": [papers]})
    assert [hit["document"]["id"] for hit in found.json()["hits"]] == [document]
    for path in ("", "/text", "/file", "/pages/1"):
        assert (await bob.get(f"/api/v1/documents/{document}{path}")).status_code == 200
    url = f"/api/v1/collections/{papers}"
    for refused in (
        await bob.post(f"{url}/documents", files=FILES),
        await bob.patch(f"/api/v1/documents/{document}", json={"name": "x"}),
        await bob.delete(f"/api/v1/documents/{document}"),
        await bob.patch(url, json={"name": "x"}),
        await bob.delete(url),
        await bob.get(f"{url}/shares"),
        await bob.put(f"{url}/shares", json={"user": "ada"}),
        await bob.post(f"{url}/reindex", json={}),
    ):
        assert refused.status_code == 403, refused.text
        assert "shared with you to read" in refused.json()["detail"]


async def test_a_writer_adds_and_removes_documents_that_stay_the_owners(app: App) -> None:
    papers, document, bob = await _shared(app, "write")
    accepted = (await bob.post(f"/api/v1/collections/{papers}/documents", files=FILES)).json()
    assert (await bob.get(f"/api/v1/operations/{accepted['operation_id']}")).status_code == 200
    await app.settle(accepted["operation_id"], bob)
    assert await app.names_found("otters", collection_ids=[papers]) == ["otter.txt", "walrus.txt"]
    deleted = await bob.delete(f"/api/v1/documents/{document}")
    assert deleted.status_code == 202
    await app.settle(deleted.json()["operation_id"], bob)
    assert (await app.client.get(f"/api/v1/documents/{document}")).status_code == 404
    assert (await bob.delete(f"/api/v1/collections/{papers}")).status_code == 403
    otter = accepted["documents"][0]["id"]
    await app.client.delete(f"/api/v1/collections/{papers}/shares/{await _id(bob)}")
    assert (await bob.get(f"/api/v1/documents/{otter}")).status_code == 404, "not even what Bob added"


async def test_a_share_that_is_taken_back_ends_at_once(app: App) -> None:
    papers, document, bob = await _shared(app, "read")
    search = {"query": "walruses", "collection_ids": [papers]}
    assert (await bob.post("/api/v1/search", json=search)).status_code == 200
    assert (await app.client.delete(f"/api/v1/collections/{papers}/shares/{await _id(bob)}")).status_code == 204
    assert (await bob.post("/api/v1/search", json=search)).status_code == 404
    assert (await bob.get(f"/api/v1/documents/{document}")).status_code == 404
    assert len((await bob.get("/api/v1/collections")).json()["items"]) == 1


async def test_one_may_leave_what_one_was_given_and_nothing_else(app: App) -> None:
    papers, _, bob = await _shared(app, "read")
    carl = await app.new_user("carl")
    await app.client.put(f"/api/v1/collections/{papers}/shares", json={"user": "carl"})
    assert (await bob.delete(f"/api/v1/collections/{papers}/shares/{await _id(carl)}")).status_code == 403
    assert (await bob.delete(f"/api/v1/collections/{papers}/shares/{await _id(bob)}")).status_code == 204
    assert (await bob.get(f"/api/v1/collections/{papers}")).status_code == 404
    assert (await carl.get(f"/api/v1/collections/{papers}")).status_code == 200


async def test_what_cannot_be_shared_says_why(app: App) -> None:
    papers, _, bob = await _shared(app, "read")
    for collection, user, status in (("default", "bob", 409), (papers, "ada", 409), (papers, "nobody", 404)):
        answer = await app.client.put(f"/api/v1/collections/{collection}/shares", json={"user": user})
        assert answer.status_code == status
    again = await app.client.put(f"/api/v1/collections/{papers}/shares", json={"user": "bob", "access": "write"})
    assert again.json()["access"] == "write"
    assert len((await app.client.get(f"/api/v1/collections/{papers}/shares")).json()["items"]) == 1
    assert (await bob.get(f"/api/v1/collections/{papers}")).json()["access"] == "write"


async def test_a_deleted_collection_takes_its_shares_along(app: App) -> None:
    papers, _, bob = await _shared(app, "read")
    await app.settle((await app.client.delete(f"/api/v1/collections/{papers}")).json()["operation_id"])
    assert (await bob.get(f"/api/v1/collections/{papers}")).status_code == 404


async def _id(client: httpx.AsyncClient) -> str:
    return str((await client.get("/api/v1/auth/me")).json()["id"])


@pytest.mark.parametrize("ending", ["removed", "lowered"])
async def test_what_somebody_had_at_work_is_the_owners_once_the_right_is_gone(app: App, ending: str) -> None:
    papers, _, bob = await _shared(app, "write")
    app.embedder.turnstile.close()
    accepted = (await bob.post(f"/api/v1/collections/{papers}/documents", files=FILES)).json()
    path = f"/api/v1/operations/{accepted['operation_id']}"
    assert (await app.client.get(path)).status_code == 404
    if ending == "removed":
        await app.client.delete(f"/api/v1/collections/{papers}/shares/{await _id(bob)}")
    else:
        await app.client.put(f"/api/v1/collections/{papers}/shares", json={"user": "bob", "access": "read"})
    for route in ("", "/events"):
        assert (await bob.get(path + route)).status_code == 404
        assert (await app.client.get(path + route)).status_code == 200
    assert (await bob.post(f"{path}/cancel")).status_code == 404
    app.embedder.turnstile.open()
    assert (await app.settle(accepted["operation_id"]))["state"] == "completed"


async def test_only_an_administrator_names_a_model(app: App, tmp_path: Path) -> None:
    """It may be any folder of the server's machine."""
    bob = await app.new_user("bob")
    refused = await bob.post("/api/v1/collections/default/reindex", json={"model": str(tmp_path)})
    assert refused.status_code == 403
    assert "administrator" in refused.json()["detail"]
    named = await app.client.post("/api/v1/collections/default/reindex", json={"model": str(tmp_path)})
    assert named.status_code == 400
