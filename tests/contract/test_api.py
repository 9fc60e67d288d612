"""The HTTP contract that clients rely on: every documented call with its status, every body with its field names."""

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from perplex_mono.app import ROUTES
from tests import documents as make
from tests.app_client import App, open_app

pytestmark = pytest.mark.asyncio(loop_scope="module")

# method, path, status of a call that succeeds, body to send
CALLS: list[tuple[str, str, int, Any]] = [
    ("GET", "/health", 200, None),
    ("GET", "/ready", 200, None),
    ("GET", "/db/health", 200, None),
    ("GET", "/vector/health", 200, None),
    ("GET", "/metrics", 200, None),
    ("POST", "/api/v1/collections", 201, {"name": "papers", "description": "what we read"}),
    ("GET", "/api/v1/collections", 200, None),
    ("GET", "/api/v1/collections/{collection_id}", 200, None),
    ("PATCH", "/api/v1/collections/{collection_id}", 200, {"description": "new"}),
    ("DELETE", "/api/v1/collections/{other_collection_id}", 202, None),
    ("GET", "/api/v1/collections/{reindexed_id}/indexes", 200, None),
    ("POST", "/api/v1/collections/{reindexed_id}/indexes/{kept_index_id}/activate", 200, None),
    ("DELETE", "/api/v1/collections/{reindexed_id}/indexes/{dropped_index_id}", 202, None),
    ("POST", "/api/v1/collections/{reindexed_id}/reindex", 202, {"chunking": {"max_tokens": 100}}),
    ("POST", "/api/v1/collections/{collection_id}/documents", 202, {"files": b"One more file of words."}),
    ("GET", "/api/v1/collections/{collection_id}/documents", 200, None),
    ("GET", "/api/v1/collections/default/documents?status=ready&media_type=text/plain&tag=x&limit=5", 200, None),
    ("GET", "/api/v1/documents/{document_id}", 200, None),
    ("PATCH", "/api/v1/documents/{document_id}", 200, {"name": "n.pdf", "tags": ["a"], "metadata": {"k": 1}}),
    ("GET", "/api/v1/documents/{document_id}/file", 200, None),
    ("GET", "/api/v1/documents/{document_id}/text", 200, None),
    ("GET", "/api/v1/documents/{document_id}/pages/1", 200, None),
    ("GET", "/api/v1/documents/{document_id}/pages/1/image", 200, None),
    ("GET", "/api/v1/documents/{document_id}/pages/1/image?highlight={chunk_id}", 200, None),
    ("POST", "/api/v1/documents/{document_id}/summary", 200, None),
    ("POST", "/api/v1/documents/{failed_id}/retry", 202, None),
    ("POST", "/api/v1/chunking/preview", 200, {"text": "Some words to cut."}),
    ("POST", "/api/v1/collections/{collection_id}/sources", 201, {"directory": "{folder}/b", "include": ["*.txt"]}),
    ("GET", "/api/v1/collections/{collection_id}/sources", 200, None),
    ("GET", "/api/v1/collections/{collection_id}/sources/{source_id}", 200, None),
    ("GET", "/api/v1/collections/{collection_id}/sources/{source_id}/files?status=skipped", 200, None),
    ("POST", "/api/v1/collections/{collection_id}/sources/{source_id}/scan", 202, None),
    ("DELETE", "/api/v1/collections/{collection_id}/sources/{other_source_id}", 202, None),
    ("GET", "/api/v1/operations", 200, None),
    ("GET", "/api/v1/operations?state=completed&kind=ingest&collection_id={collection_id}", 200, None),
    ("GET", "/api/v1/operations/{operation_id}", 200, None),
    ("GET", "/api/v1/operations/{operation_id}/events?after=0", 200, None),
    ("POST", "/api/v1/operations/{held_id}/pause", 200, None),
    ("POST", "/api/v1/operations/{held_id}/resume", 200, None),
    ("POST", "/api/v1/operations/{held_id}/cancel", 200, None),
    ("POST", "/api/v1/operations/{held_id}/retry", 200, None),
    ("GET", "/api/v1/all-operations?state=completed&kind=ingest&owner_id=local", 200, None),
    ("POST", "/api/v1/all-operations/{held_id}/{action}", 200, None),
    ("POST", "/api/v1/backups", 202, {"include_secrets": False}),
    ("GET", "/api/v1/backups", 200, None),
    ("GET", "/api/v1/backups/{backup_id}", 200, None),
    ("GET", "/api/v1/backups/{backup_id}/file", 200, None),
    ("DELETE", "/api/v1/backups/{other_backup_id}", 204, None),
    ("POST", "/api/v1/search", 200, {"query": "lighthouse"}),
    ("POST", "/api/v1/answers", 200, {"question": "What did the lighthouse keeper count?"}),
    ("GET", "/api/v1/settings", 200, None),
    ("PATCH", "/api/v1/settings", 200, {"search.rrf_k": 20}),
    ("GET", "/schema/openapi.json", 200, None),
    ("GET", "/schema", 200, None),
    ("DELETE", "/api/v1/documents/{other_id}", 202, None),
]
# these need accounts; tests/contract/test_accounts_api.py calls them
ACCOUNT_CALLS: dict[tuple[str, str], int] = {
    ("POST", "/api/v1/auth/setup"): 201,
    ("POST", "/api/v1/auth/login"): 200,
    ("POST", "/api/v1/auth/refresh"): 200,
    ("GET", "/api/v1/auth/me"): 200,
    ("POST", "/api/v1/auth/password"): 204,
    ("POST", "/api/v1/users"): 201,
    ("GET", "/api/v1/users"): 200,
    ("GET", "/api/v1/users/*"): 200,
    ("PATCH", "/api/v1/users/*"): 200,
    ("POST", "/api/v1/api-keys"): 201,
    ("GET", "/api/v1/api-keys"): 200,
    ("DELETE", "/api/v1/api-keys/*"): 204,
    ("PUT", "/api/v1/collections/*/shares"): 200,
    ("GET", "/api/v1/collections/*/shares"): 200,
    ("DELETE", "/api/v1/collections/*/shares/*"): 204,
    ("GET", "/api/v1/audit"): 200,
    ("POST", "/api/v1/auth/logout"): 204,
}
SOCKETS = ["/ws/operations", "/ws/operations/{operation_id}", "/ws/directory-scan/{scan_id}"]

COLLECTION = "id name owner_id access description document_count active_index_id chunking created_at updated_at"
DOCUMENT = (
    "id name collection_id status media_type size_bytes sha256 page_count chunk_count tags metadata created_at"
    " updated_at failure parent_id source_id replaces_id operation_id"
)
OPERATION = (
    "id kind state collection_id parent_id created_at started_at finished_at done total unit failed_count attempt"
    " eta_seconds error"
)
INDEX = (
    "id collection_id state model model_key dimension chunking document_count chunk_count operation_id created_at"
    " retired_at"
)
SOURCE = (
    "id collection_id directory include exclude recursive watch file_count skipped_count failed_count created_at"
    " scanned_at last_scan"
)
BACKUP = "id operation_id created_at size_bytes product_version schema_revision includes_secrets is_scheduled counts"
HIT = "chunk_id document collection_id text highlights heading_path pages boxes score scores ranks matched"
ANSWER = "id chat_id answer citations generated_by state warnings suggestions timings_ms"
CITATION = "n chunk_id document_id document_name pages boxes quote support"


@dataclass
class World:
    """An application with a few things in it, and their ids by name."""

    app: App
    ids: dict[str, str]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    folder = tmp_path_factory.mktemp("api")
    async with open_app(folder, sources={"roots": [str(folder)]}) as app:
        pdf = make.text_pdf(folder / "a.pdf", [make.PROSE, "Another page about harbours."]).read_bytes()
        document, failed, other = await app.ingest(
            ("a.pdf", pdf), ("bad", b"\x7fELF" + b"\0" * 99), ("b.txt", b"Other words.")
        )
        hit = (await app.search("lighthouse", mode="sparse"))["hits"][0]
        ids = {
            "collection_id": document["collection_id"],
            "other_collection_id": await app.new_collection("to be deleted"),
            **await reindexed_twice(app),
            **await followed(app, folder),
            **await backed_up_twice(app),
            "document_id": document["id"],
            "failed_id": failed["id"],
            "other_id": other["id"],
            "operation_id": document["operation_id"],
            "chunk_id": hit["chunk_id"],
            "action": "cancel",
        }
        app.embedder.turnstile.close()
        ids["held_id"] = (await app.upload(("held.txt", b"A text that waits to be embedded.")))["operation_id"]
        yield World(app, ids)


async def reindexed_twice(app: App) -> dict[str, str]:
    """An empty collection with three indexes: two kept, one active."""
    collection = await app.new_collection("reindexed")
    for _ in range(2):
        await app.settle((await app.reindex(collection))["operation_id"])
    kept, dropped, _ = await app.indexes(collection)
    return {"reindexed_id": collection, "kept_index_id": kept["id"], "dropped_index_id": dropped["id"]}


async def followed(app: App, folder: Path) -> dict[str, str]:
    """Three folders, two of which the default collection follows."""
    sources = []
    for name in ("papers", "others", "b"):
        (folder / name).mkdir()
        (folder / name / "empty.txt").touch()
    for name in ("papers", "others"):
        body = {"directory": str(folder / name)}
        sources.append((await app.client.post("/api/v1/collections/default/sources", json=body)).json())
    return {"folder": str(folder), "source_id": sources[0]["id"], "other_source_id": sources[1]["id"]}


async def backed_up_twice(app: App) -> dict[str, str]:
    """Two backups."""
    made = []
    for _ in range(2):
        made.append((await app.client.post("/api/v1/backups", json={})).json())
        await app.settle(made[-1]["operation_id"])
    return {"backup_id": made[0]["backup_id"], "other_backup_id": made[1]["backup_id"]}


def names(text: str) -> set[str]:
    return set(text.split())


async def fetch(world: World, method: str, path: str, body: Any = None) -> Any:
    answer = await world.app.client.request(method, path.format(**world.ids), json=body)
    assert answer.status_code < 300, answer.text
    return answer.json()


@pytest.mark.parametrize(("method", "path", "status", "body"), CALLS, ids=[f"{call[0]} {call[1]}" for call in CALLS])
async def test_every_call_exists_and_answers_as_written(
    world: World, method: str, path: str, status: int, body: Any
) -> None:
    url = path.format(**world.ids)
    if isinstance(body, dict) and "directory" in body:
        body = body | {"directory": body["directory"].format(**world.ids)}
    if isinstance(body, dict) and "files" in body:
        answer = await world.app.client.request(method, url, files=[("files", ("c.txt", body["files"]))])
    else:
        answer = await world.app.client.request(method, url, json=body)
    assert answer.status_code == status, answer.text[:500]


async def test_there_is_no_call_beside_those(world: World) -> None:
    """A new route must be written down here (and in the documentation) first."""
    documented = {
        (method, re.sub(r"\{\w+\}|default(?=/)|(?<=/)\d+", "*", path.partition("?")[0])) for method, path, *_ in CALLS
    }
    schema = await fetch(world, "GET", "/schema/openapi.json")
    served = {
        (method.upper(), re.sub(r"\{\w+\}", "*", path)) for path, item in schema["paths"].items() for method in item
    }
    assert served == {call for call in documented if not call[1].startswith("/schema")} | set(ACCOUNT_CALLS)


async def test_the_sockets_exist() -> None:
    paths = {path for route in ROUTES for path in getattr(route, "paths", ())}
    served = {re.sub(r":\w+\}", "}", path) for path in paths if path.startswith("/ws")}
    assert served == set(SOCKETS)


async def test_health_says_what_is_documented(world: World) -> None:
    health = await fetch(world, "GET", "/health")
    assert set(health) == names("status timestamp uptime_seconds version memory")
    assert set(health["memory"]) == {"rss_bytes"}
    assert datetime.fromisoformat(health["timestamp"]).utcoffset() is not None


async def test_readiness_names_every_component(world: World) -> None:
    ready = await fetch(world, "GET", "/ready")
    assert set(ready) == {"status", "components"}
    assert names("database vectors embedding ocr readers queue disk memory processor") <= set(ready["components"])
    for component in ready["components"].values():
        assert {"status", "since"} <= set(component) <= names("status since reason restarts")
        assert component["status"] in ("ok", "degraded", "down")
        assert (component["status"] == "ok") == ("reason" not in component)


async def test_a_collection_has_its_fields(world: World) -> None:
    page = await fetch(world, "GET", "/api/v1/collections")
    assert set(page) == {"items", "next_cursor"}
    assert set(page["items"][0]) == names(COLLECTION)
    assert set(await fetch(world, "GET", "/api/v1/collections/default")) == names(COLLECTION)


async def test_a_document_has_its_fields(world: World) -> None:
    page = await fetch(world, "GET", "/api/v1/collections/default/documents")
    assert set(page) == {"items", "next_cursor"}
    assert all(set(item) == names(DOCUMENT) for item in page["items"])
    document = await fetch(world, "GET", "/api/v1/documents/{document_id}")
    assert set(document) == names(DOCUMENT)
    assert document["failure"] is None
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+Z", document["created_at"])
    (failed,) = (item for item in page["items"] if item["id"] == world.ids["failed_id"])
    assert set(failed["failure"] or names("code message retryable")) == names("code message retryable")


async def test_an_upload_answers_with_ids(world: World) -> None:
    accepted = await world.app.upload(("d.txt", b"words of d"), ("again.txt", b"words of d"))
    assert set(accepted) == {"operation_id", "documents"}
    assert all(set(item) == names("id name status duplicate_of") for item in accepted["documents"])
    assert accepted["documents"][1]["duplicate_of"] == accepted["documents"][0]["id"]


async def test_a_page_has_words_with_boxes(world: World) -> None:
    page = await fetch(world, "GET", "/api/v1/documents/{document_id}/pages/1")
    assert set(page) == names("document_id number label text source confidence width height words")
    assert page["source"] in ("text", "ocr")
    for word in page["words"]:
        assert set(word) == names("text start end x0 y0 x1 y1 confidence")
        assert page["text"][word["start"] : word["end"]] == word["text"]
        assert 0 <= word["x0"] < word["x1"] <= 1
        assert 0 <= word["y0"] < word["y1"] <= 1


async def test_a_text_has_its_pages(world: World) -> None:
    text = await fetch(world, "GET", "/api/v1/documents/{document_id}/text")
    assert set(text) == names("document_id pages next_page")
    assert [set(page) for page in text["pages"]] == [names("number label text")] * 2
    rest = await fetch(world, "GET", "/api/v1/documents/{document_id}/text?page=2")
    assert [page["number"] for page in rest["pages"]] == [2]


async def test_a_source_and_its_files_have_their_fields(world: World) -> None:
    page = await fetch(world, "GET", "/api/v1/collections/default/sources")
    assert set(page) == {"items", "next_cursor"}
    assert set(page["items"][0]) == names(SOURCE)
    accepted = await fetch(world, "POST", "/api/v1/collections/default/sources/{source_id}/scan")
    assert set(accepted) == names("scan_id operation_id")
    await world.app.settle(accepted["scan_id"])
    source = await fetch(world, "GET", "/api/v1/collections/default/sources/{source_id}")
    assert set(source["last_scan"]) == names("operation_id state finished_at error")
    files = await fetch(world, "GET", "/api/v1/collections/default/sources/{source_id}/files")
    assert set(files["items"][0]) == names("path size_bytes document_id document_status reason")


async def test_a_backup_has_its_fields(world: World) -> None:
    page = await fetch(world, "GET", "/api/v1/backups")
    assert set(page) == {"items"}
    backup = await fetch(world, "GET", "/api/v1/backups/{backup_id}")
    assert backup in page["items"]
    assert set(backup) == names(BACKUP)
    assert set(backup["counts"]) == names("collections documents files")
    file = await world.app.client.get(f"/api/v1/backups/{backup['id']}/file")
    assert len(file.content) == backup["size_bytes"]
    assert file.headers["content-disposition"].startswith("attachment;")
    assert (await world.app.client.get("/api/v1/backups/20260101T000000Z-00000000")).status_code == 404
    assert (await world.app.client.get("/api/v1/backups/..%2F..%2Fperplex.db/file")).status_code == 404


async def test_an_image_is_png_and_shows_the_highlight(world: World) -> None:
    url = f"/api/v1/documents/{world.ids['document_id']}/pages/1/image"
    plain = await world.app.client.get(url)
    marked = await world.app.client.get(url, params={"highlight": world.ids["chunk_id"]})
    assert plain.headers["content-type"] == marked.headers["content-type"] == "image/png"
    assert plain.content.startswith(b"\x89PNG")
    assert plain.content != marked.content
    assert (await world.app.client.get(f"{url[:-7]}9/image")).status_code == 404
    assert (await world.app.client.get(url, params={"highlight": "unknown"})).status_code == 404


async def test_an_operation_has_its_fields(world: World) -> None:
    operation = await fetch(world, "GET", "/api/v1/operations/{operation_id}")
    assert set(operation) == names(OPERATION)
    page = await fetch(world, "GET", "/api/v1/operations?limit=1")
    assert set(page["items"][0]) == names(OPERATION)
    assert page["next_cursor"]


async def test_everybodys_operations_say_whose_they_are(world: World) -> None:
    page = await fetch(world, "GET", "/api/v1/all-operations?limit=1")
    assert set(page) == names("items next_cursor")
    assert set(page["items"][0]) == names("owner_id owner_name operation")
    assert set(page["items"][0]["operation"]) == names(OPERATION)


async def test_an_event_is_an_envelope(world: World) -> None:
    events = (await fetch(world, "GET", "/api/v1/operations/{operation_id}/events"))["items"]
    assert all(set(event) == names("seq type time operation_id data") for event in events)
    after = events[2]["seq"]
    later = (await fetch(world, "GET", f"/api/v1/operations/{{operation_id}}/events?after={after}"))["items"]
    assert later == events[3:]
    (progress, *_) = [event["data"] for event in events if event["type"] == "progress"]
    assert set(progress) == names("done total unit rate_per_second eta_seconds current")


async def test_a_search_has_its_fields(world: World) -> None:
    found = await fetch(world, "POST", "/api/v1/search", {"query": "lighthouse keeper", "explain": True})
    assert set(found) == names("hits mode_used warnings timings_ms")
    hit = found["hits"][0]
    assert set(hit) == names(HIT)
    assert names("id name") <= set(hit["document"])
    assert set(hit["boxes"][0]) == names("page x0 y0 x1 y1")
    assert set(hit["highlights"][0]) == names("start end")
    assert set(hit["scores"]) == names("dense sparse fused rerank")
    assert set(hit["ranks"]) == names("dense sparse")
    assert "total" in found["timings_ms"]


async def test_an_answer_has_its_fields(world: World) -> None:
    question = "The lighthouse keeper wrote down the weather every evening and counted the ships that passed the cape"
    answer = await fetch(world, "POST", "/api/v1/answers", {"question": question})
    assert set(answer) == names(ANSWER)
    assert answer["generated_by"] == "extractive"
    assert set(answer["citations"][0]) == names(CITATION)


async def test_the_original_comes_back_as_an_inert_attachment(world: World) -> None:
    answer = await world.app.client.get(f"/api/v1/documents/{world.ids['document_id']}/file")
    assert answer.content.startswith(b"%PDF-")
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-disposition"].startswith("attachment;")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in answer.headers["content-security-policy"]


async def test_every_list_refuses_a_cursor_that_none_gave(world: World) -> None:
    schema = await fetch(world, "GET", "/schema/openapi.json")
    lists = [
        re.sub(r"\{\w+\}", "default", path)
        for path, item in schema["paths"].items()
        if "cursor" in {parameter["name"] for parameter in item.get("get", {}).get("parameters", ())}
    ]
    assert len(lists) >= 8
    for path in lists:
        answer = await world.app.client.get(path, params={"cursor": "!"})
        assert (answer.status_code, answer.json()["type"]) == (400, "/problems/invalid-input"), path
        assert "cursor" in answer.text


async def test_bodies_are_described_as_strictly_as_they_are_taken(world: World) -> None:
    schema = await fetch(world, "GET", "/schema/openapi.json")
    asked = 0
    for path, item in schema["paths"].items():
        for method, operation in item.items():
            body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
            if "$ref" not in body:  # settings, which have any name
                continue
            described = schema["components"]["schemas"][body["$ref"].rpartition("/")[2]]
            assert described["additionalProperties"] is False, path
            url = re.sub(r"\{\w+\}", "default", path)
            answer = await world.app.client.request(method, url, json={"nobody_asked": 1})
            assert (answer.status_code, "`nobody_asked`" in answer.text) == (400, True), f"{method} {path}"
            asked += 1
    assert asked > 15
    assert schema["components"]["schemas"]["SearchFilters"]["additionalProperties"] is False, "bodies in bodies too"


async def test_the_schema_is_whole_and_its_page_works_offline(world: World) -> None:
    schema = await fetch(world, "GET", "/schema/openapi.json")
    assert schema["openapi"].startswith("3.")
    for item in schema["paths"].values():
        assert all(operation["summary"] for operation in item.values())
        for operation in item.values():
            (media_type,) = operation["responses"]["default"]["content"]
            assert (media_type, "400" in operation["responses"]) == ("application/problem+json", False)
    assert set(schema["components"]["schemas"]["Problem"]["required"]) == names("type title status detail instance")
    assert schema["security"] == [{"bearer": []}]
    for url in ("/schema", "/schema/", "/schema/reference", "/schema/nothing-here"):
        page = (await world.app.client.get(url)).text
        assert not re.findall(r"(?i)https?://|src=|<script|@import|//[a-z]+\.", page), url
    page = (await world.app.client.get("/schema")).text
    assert all(path in page for path in schema["paths"])
    (link,) = re.findall(r'href="([^"]+)"', page)
    assert (await world.app.client.get(link)).json() == schema


async def test_below_a_base_path_everything_moves(tmp_path: Path) -> None:
    async with open_app(tmp_path, server={"base_path": "/documents"}) as app:
        for path in ("/health", "/ready", "/api/v1/collections", "/schema/openapi.json", "/schema"):
            assert (await app.client.get(f"/documents{path}")).status_code == 200
        assert (await app.client.get("/api/v1/collections")).status_code == 404
        page = (await app.client.get("/documents/schema")).text
        (link,) = re.findall(r'href="([^"]+)"', page)
        assert (await app.client.get(link)).status_code == 200
