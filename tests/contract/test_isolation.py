"""One user against everything of another: every route of the application, with the other's ids wherever one fits."""

import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from litestar import Litestar
from litestar.routes import HTTPRoute

from tests import documents as make
from tests.app_client import PASSWORD, App, open_app
from tests.contract.test_routes import ADMIN, PUBLIC

pytestmark = pytest.mark.asyncio(loop_scope="module")

SECRET = "the wreck lies off the northern reef"
# what a route needs to get as far as looking for the thing
BODIES: dict[str, Any] = {
    "PATCH /api/v1/collections/{collection_id}": {"name": "mine"},
    "PATCH /api/v1/documents/{document_id}": {"name": "mine"},
    "POST /api/v1/collections/{collection_id}/reindex": {},
    "PUT /api/v1/collections/{collection_id}/shares": {"user": "bob", "access": "write"},
}
# ids in bodies
ASKING_BY_BODY: list[tuple[str, dict[str, Any]]] = [
    ("/api/v1/search", {"query": "wreck reef", "collection_ids": ["{collection_id}"]}),
    ("/api/v1/answers", {"question": "Where does the wreck lie?", "collection_ids": ["{collection_id}"]}),
    ("/api/v1/chunking/preview", {"document_id": "{document_id}"}),
]
# these concern the caller itself, whatever it names
OF_ONESELF = {"/api/v1/auth/logout", "/api/v1/auth/password", "/api/v1/auth/me"}


@dataclass
class World:
    """The application, the ids of what Ada has, and Bob's client."""

    app: App
    ids: dict[str, str]
    bob: httpx.AsyncClient

    def fill(self, text: str) -> str:
        return re.sub(r"\{(\w+)(?::\w+)?\}", lambda match: self.ids[match[1]], text)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    folder = tmp_path_factory.mktemp("isolation")
    async with open_app(folder / "data", sources={"roots": [str(folder)]}) as app:
        await app.set_up()
        papers = await app.new_collection("papers")
        pdf = make.text_pdf(folder / "reef.pdf", [SECRET, "A second page."]).read_bytes()
        (document,) = await app.ingest(("reef.pdf", pdf), collection=papers)
        hit = (await app.search("wreck reef", collection_ids=[papers]))["hits"][0]
        (folder / "docs").mkdir()
        url = f"/api/v1/collections/{papers}/sources"
        source = (await app.client.post(url, json={"directory": str(folder / "docs")})).json()
        scan = (await app.client.post(f"{url}/{source['id']}/scan")).json()
        await app.settle(scan["scan_id"])
        await app.settle((await app.reindex(papers))["operation_id"])
        key = (await app.client.post("/api/v1/api-keys", json={"name": "adas key"})).json()["key"]
        bob = await app.new_user("bob")
        carl = await app.new_user("carl")
        await app.client.put(f"/api/v1/collections/{papers}/shares", json={"user": "carl"})
        ids = {
            "collection_id": papers,
            "document_id": document["id"],
            "operation_id": document["operation_id"],
            "source_id": source["id"],
            "scan_id": scan["scan_id"],
            "index_id": (await app.indexes(papers))[0]["id"],
            "key_id": key["id"],
            "user_id": (await carl.get("/api/v1/auth/me")).json()["id"],
            "chunk_id": hit["chunk_id"],
            "backup_id": "0199f0a1-7c2e-7d1a-9b1e-3f0c2a1b4c5d",
            "number": "1",
            "action": "cancel",
        }
        yield World(app, ids, bob)


def _calls(app: App) -> Iterator[tuple[str, str]]:
    routed = app.application._app
    assert isinstance(routed, Litestar)
    for route in routed.routes:
        if isinstance(route, HTTPRoute) and not route.path.startswith("/schema"):
            yield from ((method, route.path) for method in route.route_handler_map if method != "OPTIONS")


async def _ask(world: World, method: str, path: str) -> httpx.Response:
    name = f"{method} {re.sub(r':(str|int)', '', path)}"
    if name.startswith("POST") and path.endswith("/documents"):
        return await world.bob.post(world.fill(path), files=[("files", ("a.txt", b"words"))])
    return await world.bob.request(method, world.fill(path), json=BODIES.get(name))


async def test_whatever_is_named_in_a_path_is_not_there_for_somebody_else(world: World) -> None:
    asked = 0
    for method, path in _calls(world.app):
        if "{" in path and f"{method} {path}" not in ADMIN:
            answer = await _ask(world, method, path)
            assert (answer.status_code, answer.json()["type"]) == (404, "/problems/not-found"), f"{method} {path}"
            assert SECRET not in answer.text
            asked += 1
    assert asked > 25


async def test_administrators_calls_are_refused(world: World) -> None:
    for method, path in _calls(world.app):
        if f"{method} {path}" in ADMIN:
            body = {"name": "eve", "password": PASSWORD, "directory": "/"}
            answer = await world.bob.request(method, world.fill(path), json=body if method != "GET" else None)
            assert (answer.status_code, answer.json()["type"]) == (403, "/problems/forbidden"), f"{method} {path}"


async def test_no_list_shows_anything_of_somebody_else(world: World) -> None:
    asked = 0
    for method, path in _calls(world.app):
        name = f"{method} {path}"
        if method == "GET" and "{" not in path and name not in ADMIN | PUBLIC and path not in OF_ONESELF:
            text = (await world.bob.get(path)).text
            assert not [key for key, value in world.ids.items() if key not in ("number", "action") and value in text], (
                path
            )
            asked += 1
    assert asked >= 4


@pytest.mark.parametrize(("path", "body"), ASKING_BY_BODY, ids=[path for path, _ in ASKING_BY_BODY])
async def test_whatever_is_named_in_a_body_is_not_there(world: World, path: str, body: dict[str, Any]) -> None:
    filled = {
        name: [world.fill(value[0])] if isinstance(value, list) else world.fill(value) for name, value in body.items()
    }
    answer = await world.bob.post(path, json=filled)
    assert answer.status_code == 404, answer.text
    assert SECRET not in answer.text


async def test_searching_by_document_finds_nothing_of_somebody_else(world: World) -> None:
    body = {"query": "wreck reef", "filters": {"document_ids": [world.ids["document_id"]]}}
    answer = await world.bob.post("/api/v1/search", json=body)
    assert (answer.status_code, answer.json()["hits"]) == (200, [])
    asked = await world.bob.post("/api/v1/answers", json={"question": "Where does the wreck lie?"})
    assert SECRET not in asked.text


async def test_a_chunk_of_somebody_else_marks_no_page_of_mine(world: World, tmp_path: Path) -> None:
    pdf = make.text_pdf(tmp_path / "mine.pdf", ["A text of my own."]).read_bytes()
    files = [("files", ("mine.pdf", pdf))]
    accepted = (await world.bob.post("/api/v1/collections/default/documents", files=files)).json()
    await world.app.settle(accepted["operation_id"], world.bob)
    url = f"/api/v1/documents/{accepted['documents'][0]['id']}/pages/1/image"
    assert (await world.bob.get(url)).status_code == 200
    answer = await world.bob.get(url, params={"highlight": world.ids["chunk_id"]})
    assert answer.status_code == 404


async def test_the_same_bytes_are_not_told_to_be_there_already(world: World) -> None:
    pdf = await world.app.client.get(f"/api/v1/documents/{world.ids['document_id']}/file")
    files = [("files", ("reef.pdf", pdf.content))]
    accepted = (await world.bob.post("/api/v1/collections/default/documents", files=files)).json()
    assert accepted["documents"][0]["duplicate_of"] is None
    assert accepted["documents"][0]["id"] != world.ids["document_id"]
