"""Collections and documents: made, listed page by page, changed, hidden at once and then gone, and only the owner's."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from sqlmodel import col, func, select, update

from perplex_mono.errors import NotFound
from perplex_mono.library.models import Chunk, Collection, Document, SearchIndex, StoredEmbedding, StoredPage
from perplex_mono.library.schemas import CollectionChanges, DocumentChanges, NewCollection
from perplex_mono.operations.models import Operation
from perplex_mono.search.schemas import SearchRequest
from perplex_mono.storage.identity import new_id
from tests.app_client import App, open_app

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def app(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[App]:
    async with open_app(tmp_path_factory.mktemp("library")) as opened:
        yield opened


def unique(words: str = "words") -> bytes:
    return f"Some {words} of {new_id()}.".encode()


async def rows_left(app: App) -> dict[str, int]:
    tables = (Document, Chunk, StoredPage, StoredEmbedding, Collection, SearchIndex)
    async with app.container.operations._database.read() as session:
        return {table.__name__: (await session.exec(select(func.count()).select_from(table))).one() for table in tables}


def blobs(app: App) -> set[str]:
    return {path.name for path in (app.data / "blobs").iterdir() if path.is_file()}


async def test_a_collection_can_be_made_changed_and_deleted(app: App) -> None:
    name = f"Papers {new_id()}"
    made = (await app.client.post("/api/v1/collections", json={"name": name, "description": "d"})).json()
    assert (made["name"], made["description"], made["document_count"]) == (name, "d", 0)
    url = f"/api/v1/collections/{made['id']}"
    assert (await app.client.get(url)).json() == made
    changed = (await app.client.patch(url, json={"description": "new"})).json()
    assert (changed["name"], changed["description"]) == (name, "new")
    assert changed["updated_at"] > made["updated_at"]
    assert (await app.client.delete(url)).status_code == 202
    assert (await app.client.get(url)).status_code == 404
    assert (await app.client.patch(url, json={})).status_code == 404
    assert (await app.client.delete(url)).status_code == 404
    assert (await app.client.post("/api/v1/collections", json={"name": name})).status_code == 201, "the name is free"


async def test_names_are_taken_once(app: App) -> None:
    name = f"Taken {new_id()}"
    await app.new_collection(name)
    other = await app.new_collection(f"Other {new_id()}")
    assert (await app.client.post("/api/v1/collections", json={"name": name})).status_code == 409
    assert (await app.client.patch(f"/api/v1/collections/{other}", json={"name": name})).status_code == 409
    assert (await app.client.patch(f"/api/v1/collections/{other}", json={"name": "default"})).status_code == 409


@pytest.mark.parametrize("body", [{}, {"name": ""}, {"name": "x" * 256}, {"name": "x", "colour": 1}, {"name": None}])
async def test_a_collection_that_makes_no_sense_is_refused(app: App, body: dict[str, object]) -> None:
    assert (await app.client.post("/api/v1/collections", json=body)).status_code == 400


async def test_a_collection_is_cut_as_it_says_and_as_the_server_says_otherwise(app: App) -> None:
    default = {"strategy": "structure", "max_tokens": 200, "overlap_tokens": 30}
    assert (await app.client.get("/api/v1/collections/default")).json()["chunking"] == default
    for asked, expected in [
        (None, default),
        ({"strategy": "fixed"}, {**default, "strategy": "fixed"}),
        ({"max_tokens": 40}, {**default, "max_tokens": 40, "overlap_tokens": 20}),
        ({"max_tokens": 64, "overlap_tokens": 0}, {**default, "max_tokens": 64, "overlap_tokens": 0}),
    ]:
        body = {"name": f"Cut {new_id()}", "chunking": asked}
        made = (await app.client.post("/api/v1/collections", json=body)).json()
        assert made["chunking"] == expected
        assert (await app.client.get(f"/api/v1/collections/{made['id']}")).json() == made
        listed = (await app.client.get("/api/v1/collections?limit=100")).json()["items"]
        assert made in listed


@pytest.mark.parametrize(
    ("chunking", "said"),
    [
        ({"strategy": "magic"}, "chunking.strategy is 'magic'; it must be one of structure"),
        ({"max_tokens": 15}, "this model needs a value from 16 to 250"),
        ({"max_tokens": 251}, "this model needs a value from 16 to 250"),
        ({"max_tokens": 40, "overlap_tokens": 21}, "it must lie between 0 and 20"),
        ({"size": 40}, "size"),
        ({"max_tokens": "many"}, "max_tokens"),
    ],
)
async def test_a_collection_that_cannot_be_cut_so_is_refused(app: App, chunking: dict[str, object], said: str) -> None:
    body = {"name": f"Refused {new_id()}", "chunking": chunking}
    answer = await app.client.post("/api/v1/collections", json=body)
    assert answer.status_code == 400
    assert said in answer.text
    listed = (await app.client.get("/api/v1/collections?limit=100")).json()["items"]
    assert body["name"] not in [item["name"] for item in listed]


async def test_the_description_of_the_api_names_the_strategies(app: App) -> None:
    schemas = (await app.client.get("/schema/openapi.json")).json()["components"]["schemas"]
    assert "structure" in str(schemas["Chunking"]["properties"]["strategy"])


async def test_the_default_collection_always_exists(app: App) -> None:
    view = (await app.client.get("/api/v1/collections/default")).json()
    assert view["name"] == "default"
    assert (await app.client.get(f"/api/v1/collections/{view['id']}")).json() == view
    assert (await app.client.delete("/api/v1/collections/default")).status_code == 409
    assert (await app.client.delete(f"/api/v1/collections/{view['id']}")).status_code == 409
    assert (await app.client.patch("/api/v1/collections/default", json={"name": "mine"})).status_code == 409
    described = await app.client.patch("/api/v1/collections/default", json={"name": "default", "description": "ok"})
    assert described.json()["description"] == "ok"


async def test_lists_page_without_loss_or_repeat(app: App) -> None:
    collection = await app.new_collection(f"Paged {new_id()}")
    accepted = await app.upload(*[(f"{number}.txt", unique()) for number in range(7)], collection=collection)
    await app.settle(accepted["operation_id"])
    expected = sorted((item["id"] for item in accepted["documents"]), reverse=True)
    url, seen, cursor = f"/api/v1/collections/{collection}/documents", [], None
    for _ in range(3):
        params = {"limit": "3"} | ({"cursor": cursor} if cursor else {})
        page = (await app.client.get(url, params=params)).json()
        seen += [item["id"] for item in page["items"]]
        cursor = page["next_cursor"]
    assert (seen, cursor) == (expected, None)
    exact = (await app.client.get(url, params={"limit": 7})).json()
    assert (len(exact["items"]), exact["next_cursor"]) == (7, None)
    first = (await app.client.get("/api/v1/collections", params={"limit": 1})).json()
    second = (await app.client.get("/api/v1/collections", params={"limit": 1, "cursor": first["next_cursor"]})).json()
    assert first["items"][0]["id"] < second["items"][0]["id"]


async def test_lists_are_filtered(app: App) -> None:
    collection = await app.new_collection(f"Filtered {new_id()}")
    await app.ingest(("a.txt", unique()), ("bad", b"\x7fELF" + unique()), collection=collection, tags="red")
    await app.ingest(("b.md", b"# Title\n\n" + unique()), collection=collection, tags="red,blue")

    async def listed(**params: str) -> list[str]:
        answer = await app.client.get(f"/api/v1/collections/{collection}/documents", params=params)
        return sorted(item["name"] for item in answer.json()["items"])

    assert await listed() == ["a.txt", "b.md", "bad"]
    assert await listed(status="failed") == ["bad"]
    assert await listed(media_type="text/markdown") == ["b.md"]
    assert await listed(tag="blue") == ["b.md"]
    assert await listed(tag="red", status="ready") == ["a.txt", "b.md"]
    assert await listed(tag="re") == []
    assert await listed(tag="' OR 1=1 --") == []


async def test_a_document_can_be_renamed_tagged_and_annotated(app: App) -> None:
    (document,) = await app.ingest(("a.txt", unique()), tags="old", metadata='{"a": 1}')
    url = f"/api/v1/documents/{document['id']}"
    renamed = (await app.client.patch(url, json={"name": "dir/../new\u202e name.txt"})).json()
    assert (renamed["name"], renamed["tags"], renamed["metadata"]) == ("new name.txt", ["old"], {"a": 1})
    changed = (await app.client.patch(url, json={"tags": [], "metadata": {"b": {"c": [2]}}})).json()
    assert (changed["name"], changed["tags"], changed["metadata"]) == ("new name.txt", [], {"b": {"c": [2]}})
    assert await app.document(document["id"]) == changed
    refused: list[dict[str, object]] = [
        {"name": ""},
        {"name": None},
        {"tags": "x"},
        {"tags": [""]},
        {"metadata": []},
        {"status": "ready"},
    ]
    for wrong in refused:
        assert (await app.client.patch(url, json=wrong)).status_code == 400
    assert await app.document(document["id"]) == changed


async def test_only_failed_documents_can_be_retried(app: App) -> None:
    (document,) = await app.ingest(("a.txt", unique()))
    answer = await app.client.post(f"/api/v1/documents/{document['id']}/retry")
    assert answer.status_code == 409
    assert "ready" in answer.json()["detail"]


async def test_a_deleted_document_is_hidden_at_once_and_then_gone(app: App) -> None:
    before, files_before = await rows_left(app), blobs(app)
    (document,) = await app.ingest(("going.txt", unique("isinglass")))
    (keeper,) = await app.ingest(("staying.txt", unique("isinglass")))
    url = f"/api/v1/documents/{document['id']}"
    answer = await app.client.delete(url)
    assert answer.status_code == 202
    for path in ("", "/file", "/text", "/pages/1"):
        assert (await app.client.get(url + path)).status_code == 404
    for call in (app.client.delete(url), app.client.patch(url, json={}), app.client.post(url + "/retry")):
        assert (await call).status_code == 404
    assert await app.names_found("isinglass", mode="sparse") == ["staying.txt"]
    assert "going.txt" not in await app.names_found("isinglass", mode="dense", limit=1000)
    assert (await app.settle(answer.json()["operation_id"]))["state"] == "completed"
    assert document["id"] not in await app.vector_ids()
    assert document["sha256"] not in blobs(app)
    await delete(app, keeper["id"])
    assert await rows_left(app) == before
    assert blobs(app) == files_before


async def delete(app: App, document_id: str) -> None:
    answer = await app.client.delete(f"/api/v1/documents/{document_id}")
    await app.settle(answer.json()["operation_id"])


async def test_bytes_and_vectors_stay_while_another_document_has_them(app: App) -> None:
    content = unique("shared mizzen")
    other = await app.new_collection(f"Sharing {new_id()}")
    (first,) = await app.ingest(("first.txt", content))
    (second,) = await app.ingest(("second.txt", content), collection=other)
    await delete(app, first["id"])
    assert second["sha256"] in blobs(app)
    assert (await app.client.get(f"/api/v1/documents/{second['id']}/file")).content == content
    assert (await app.client.get(f"/api/v1/documents/{second['id']}/pages/1")).status_code == 200
    assert await app.names_found("mizzen", collection_ids=[other], mode="dense") == ["second.txt"]
    await delete(app, second["id"])
    assert second["sha256"] not in blobs(app)


async def test_deleted_bytes_can_come_again(app: App) -> None:
    content = unique("phoenix")
    (document,) = await app.ingest(("a.txt", content))
    answer = await app.client.delete(f"/api/v1/documents/{document['id']}")
    (again,) = await app.ingest(("a.txt", content))
    assert again["id"] != document["id"]
    await app.settle(answer.json()["operation_id"])
    assert (again["status"], again["sha256"] in blobs(app)) == ("ready", True)
    assert await app.names_found("phoenix", mode="sparse") == ["a.txt"]


async def test_a_deleted_collection_takes_everything_with_it(app: App) -> None:
    before, files_before = await rows_left(app), blobs(app)
    collection = await app.new_collection(f"Going {new_id()}")
    documents = await app.ingest(*[(f"{n}.txt", unique("binnacle")) for n in range(3)], collection=collection)
    answer = await app.client.delete(f"/api/v1/collections/{collection}")
    for document in documents:
        assert (await app.client.get(f"/api/v1/documents/{document['id']}")).status_code == 404
    search = await app.client.post("/api/v1/search", json={"query": "binnacle", "collection_ids": [collection]})
    assert search.status_code == 404
    await app.settle(answer.json()["operation_id"])
    assert await rows_left(app) == before
    assert blobs(app) == files_before


async def test_other_peoples_things_do_not_exist(app: App) -> None:
    (document,) = await app.ingest(("mine.txt", unique("sextant")))
    operation = (
        await app.client.delete(f"/api/v1/documents/{(await app.ingest(('x.txt', unique())))[0]['id']}")
    ).json()
    services, mallory = app.container, "mallory"
    collection = document["collection_id"]
    calls = [
        services.documents.get(document["id"], mallory),
        services.documents.original(document["id"], mallory),
        services.documents.change(document["id"], mallory, DocumentChanges(name="hers")),
        services.documents.retry(document["id"], mallory),
        services.documents.delete(document["id"], mallory),
        services.documents.require_room(collection, mallory),
        services.documents.add(collection, mallory, []),
        services.documents.list_documents(
            collection, mallory, status=None, media_type=None, tag=None, limit=5, cursor=None
        ),
        services.reading.text(document["id"], mallory, first_page=1),
        services.reading.page(document["id"], mallory, 1),
        services.reading.page_image(document["id"], mallory, 1, highlight=None, max_side=200),
        services.summaries.summarize(document["id"], mallory),
        services.collections.get(collection, mallory),
        services.collections.get("default", mallory),
        services.collections.change(collection, mallory, CollectionChanges(name="hers")),
        services.collections.delete(collection, mallory),
        services.operations.get(operation["operation_id"], mallory),
        services.operations.events(operation["operation_id"], mallory, after=0, limit=5),
        services.feeds.require(operation["operation_id"], mallory),
        services.searcher.search(SearchRequest("sextant", collection_ids=[collection]), mallory),
        services.searcher.search(SearchRequest("sextant"), mallory),
    ]
    for call in calls:
        with pytest.raises(NotFound):
            await call
    assert (await services.collections.list_collections(mallory, limit=5, cursor=None)).items == []
    hers = await services.collections.create(mallory, NewCollection(name="default"))
    filters = {"document_ids": [document["id"]]}
    found = await services.searcher.search(SearchRequest("sextant", collection_ids=[hers.id], filters=None), mallory)
    assert found.hits == []
    assert (await app.client.get(f"/api/v1/collections/{hers.id}")).status_code == 404
    assert hers.id not in [item["id"] for item in (await app.client.get("/api/v1/collections")).json()["items"]]
    assert await app.names_found("sextant", mode="sparse", filters=filters) == ["mine.txt"]
    async with services.operations._database.write() as session:
        await session.exec(
            update(Operation).where(col(Operation.id) == operation["operation_id"]).values(owner_id=mallory)
        )
    assert (await app.client.get(f"/api/v1/operations/{operation['operation_id']}")).status_code == 404


async def test_a_list_that_was_asked_for_before_shows_every_change_at_once(app: App) -> None:
    papers = await app.new_collection("asked-for-again")
    url = f"/api/v1/collections/{papers}/documents"
    (document,) = await app.ingest(("walrus.txt", b"Walruses rest on the ice of the north."), collection=papers)

    async def names() -> list[str]:
        return [item["name"] for item in (await app.client.get(url)).json()["items"]]

    assert [await names() for _ in range(3)] == [["walrus.txt"]] * 3
    await app.client.patch(f"/api/v1/documents/{document['id']}", json={"name": "seal.txt"})
    assert [await names() for _ in range(2)] == [["seal.txt"]] * 2
    await app.ingest(("otter.txt", b"Otters hold hands in the kelp of the west."), collection=papers)
    assert await names() == ["otter.txt", "seal.txt"]
    await app.client.delete(f"/api/v1/documents/{document['id']}")
    assert await names() == ["otter.txt"]
