"""Collections that are cut in different ways: filled, searched, cited, previewed; and what waits when cutting waits."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, get_args

import pytest
import pytest_asyncio
from sqlmodel import col, delete, select

from perplex_mono.library.models import Chunk, StoredPage
from perplex_mono.settings import ChunkStrategy
from perplex_mono.storage.identity import new_id
from tests import documents as make
from tests.app_client import App, open_app

pytestmark = pytest.mark.asyncio(loop_scope="module")
STRATEGIES = get_args(ChunkStrategy)
KEEPER = " ".join(f"The keeper wrote down storm {at} in the long book of the lighthouse." for at in range(30))
WHALES = " ".join(f"Whale {at} of the pod came up for air beside the old harbour wall." for at in range(30))
SMALL = {"max_tokens": 64, "overlap_tokens": 8}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def app(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[App]:
    async with open_app(tmp_path_factory.mktemp("strategies")) as opened:
        yield opened


@pytest.fixture(scope="module")
def pdf(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return make.text_pdf(tmp_path_factory.mktemp("pdf") / "coast.pdf", [KEEPER, WHALES]).read_bytes()


async def collection(app: App, strategy: str, **sizes: int) -> str:
    return await app.new_collection(f"{strategy} {new_id()}", chunking={"strategy": strategy, **SMALL, **sizes})


async def preview(app: App, **request: Any) -> dict[str, Any]:
    answer = await app.client.post("/api/v1/chunking/preview", json=request)
    assert answer.status_code == 200, answer.text
    result: dict[str, Any] = answer.json()
    return result


async def page_text(app: App, document_id: str, number: int) -> str:
    return str((await app.client.get(f"/api/v1/documents/{document_id}/pages/{number}")).json()["text"])


@pytest.mark.parametrize("strategy", STRATEGIES)
async def test_a_document_is_found_however_it_is_cut(app: App, pdf: bytes, strategy: str) -> None:
    key = await collection(app, strategy)
    (document,) = await app.ingest(("coast.pdf", pdf), collection=key)
    assert (document["status"], document["page_count"]) == ("ready", 2)
    for mode in ("hybrid", "dense", "sparse"):
        hits = (await app.search("whale harbour wall", mode=mode, collection_ids=[key]))["hits"]
        assert hits[0]["pages"] == [2]
        assert "harbour wall" in hits[0]["text"]
        assert hits[0]["boxes"]
        assert hits[0]["text"] in await page_text(app, document["id"], 2)
        assert (hits[0]["matched"] is not None) == (strategy == "hierarchical")
    seen = await preview(app, document_id=document["id"], strategy=strategy, **SMALL)
    assert len(seen["chunks"]) == document["chunk_count"] == len((await app.vector_ids(key))[document["id"]])


async def test_the_servers_own_strategy_can_be_any(tmp_path: Path) -> None:
    async with open_app(tmp_path, chunking={"strategy": "hierarchical", "max_tokens": 400}) as app:
        view = (await app.client.get("/api/v1/collections/default")).json()
        assert view["chunking"] == {"strategy": "hierarchical", "max_tokens": 400, "overlap_tokens": 30}
        await app.ingest(("keeper.txt", KEEPER.encode()))
        assert (await app.search("keeper storm"))["hits"][0]["matched"]["text"]
        assert (await preview(app, text=KEEPER))["chunking"] == view["chunking"]


async def test_a_collection_can_be_cut_anew_in_another_way(app: App, pdf: bytes) -> None:
    key = await collection(app, "structure")
    (document,) = await app.ingest(("coast.pdf", pdf), collection=key)
    for strategy in ("semantic", "hierarchical"):
        accepted = await app.reindex(key, chunking={"strategy": strategy, **SMALL})
        assert (await app.settle(accepted["operation_id"]))["state"] == "completed"
        hit = (await app.search("whale harbour wall", collection_ids=[key]))["hits"][0]
        assert (hit["matched"] is not None) == (strategy == "hierarchical")
        seen = await preview(app, document_id=document["id"], strategy=strategy, **SMALL)
        assert len(seen["chunks"]) == len((await app.vector_ids(key))[document["id"]])


async def test_a_parent_is_one_hit_with_what_was_found_in_it(app: App, pdf: bytes) -> None:
    key = await collection(app, "hierarchical", max_tokens=200)
    (document,) = await app.ingest(("coast.pdf", pdf), collection=key)
    found = await app.search("keeper storm book lighthouse", collection_ids=[key], limit=50, explain=True)
    texts = [hit["text"] for hit in found["hits"]]
    assert len(texts) == len(set(texts)) < document["chunk_count"]
    assert [hit["score"] for hit in found["hits"]] == sorted((hit["score"] for hit in found["hits"]), reverse=True)
    for hit in found["hits"]:
        matched = hit["matched"]
        assert hit["text"][matched["start"] : matched["end"]] == matched["text"]
        assert len(matched["text"]) < len(hit["text"])
        assert hit["text"] in await page_text(app, document["id"], hit["pages"][0])
        for mark in hit["highlights"]:
            assert hit["text"][mark["start"] : mark["end"]].lower() in "keepers storms books lighthouses"
        inside = [(box["x0"], box["y0"], box["x1"], box["y1"]) for box in matched["boxes"]]
        around = [(box["x0"], box["y0"], box["x1"], box["y1"]) for box in hit["boxes"]]
        assert len(around) > len(inside) >= 1
        assert min(box[1] for box in around) - 1e-4 <= min(box[1] for box in inside)
        assert max(box[3] for box in around) + 1e-4 >= max(box[3] for box in inside)


async def test_several_chunks_of_a_parent_do_not_use_up_the_limit(app: App) -> None:
    key = await collection(app, "hierarchical", max_tokens=250, overlap_tokens=0)
    (whales,) = await app.ingest(("whales.txt", WHALES[:800].encode()), collection=key)
    await app.ingest(("bread.txt", b"Bread and butter."), collection=key)
    every = await app.search("whale harbour wall", mode="dense", collection_ids=[key], limit=50, explain=True)
    assert [hit["document"]["name"] for hit in every["hits"]] == ["whales.txt", "bread.txt"]
    assert every["hits"][-1]["ranks"]["dense"] == whales["chunk_count"] + 1 > 4
    two = await app.names_found("whale harbour wall", mode="dense", collection_ids=[key], limit=2)
    assert two == ["whales.txt", "bread.txt"]


async def test_what_is_cited_stands_in_the_parent_and_on_the_page(app: App, pdf: bytes) -> None:
    key = await collection(app, "hierarchical", max_tokens=200)
    (document,) = await app.ingest(("coast.pdf", pdf), collection=key)
    question = {"question": "Which whale came up beside the harbour wall?", "collection_ids": [key]}
    answer = (await app.client.post("/api/v1/answers", json=question)).json()
    assert answer["state"] == "complete"
    for citation in answer["citations"]:
        assert citation["quote"] in " ".join((await page_text(app, document["id"], 2)).split())
        assert citation["boxes"]
        image = f"/api/v1/documents/{document['id']}/pages/2/image"
        plain = await app.client.get(image)
        marked = await app.client.get(image, params={"highlight": citation["chunk_id"]})
        assert marked.status_code == 200
        assert marked.content != plain.content
    for path in ("pages/99", "pages/99/image"):
        missing = await app.client.get(f"/api/v1/documents/{document['id']}/{path}")
        assert missing.status_code == 404
        assert missing.json()["detail"] == f"There is no page '99': the document has {document['page_count']}."
    assert (await app.client.post(f"/api/v1/documents/{document['id']}/summary")).json()["citations"]


async def test_quotes_may_lie_outside_the_chunk_that_was_found(app: App) -> None:
    key = await collection(app, "hierarchical", max_tokens=200, overlap_tokens=0)
    text = f"{WHALES[:500]}. The treasure lies under the third stone of the pier. The pier was built in 1880 by Mary."
    (document,) = await app.ingest(("pier.txt", text.encode()), collection=key)
    found = await app.search("whale pod air", collection_ids=[key], limit=1)
    shown = found["hits"][0]["text"]
    assert shown.startswith("Whale 0"), "the first sentence is before what was found or in it"
    question = {"question": "What lies under the third stone of the pier?", "collection_ids": [key]}
    answer = (await app.client.post("/api/v1/answers", json=question)).json()
    assert any("treasure" in citation["quote"] for citation in answer["citations"])
    assert document["status"] == "ready"


async def test_without_its_stored_page_the_chunk_is_shown_itself(app: App) -> None:
    key = await collection(app, "hierarchical", max_tokens=200)
    (document,) = await app.ingest(("lost.txt", (KEEPER + new_id()).encode()), collection=key)
    assert (await app.search("keeper storm", collection_ids=[key]))["hits"][0]["matched"] is not None
    async with app.container.operations._database.write() as session:
        await session.exec(delete(StoredPage).where(col(StoredPage.sha256) == document["sha256"]))
    hits = (await app.search("keeper storm", collection_ids=[key]))["hits"]
    assert [hit["matched"] for hit in hits] == [None] * len(hits)
    async with app.container.operations._database.read() as session:
        rows = (await session.exec(select(Chunk).where(Chunk.document_id == document["id"]))).all()
    assert {hit["text"] for hit in hits} <= {row.text for row in rows}


@pytest.mark.parametrize("strategy", STRATEGIES)
async def test_a_preview_shows_chunks_and_their_sizes(app: App, strategy: str) -> None:
    text = f"{KEEPER}\n\n{WHALES}"
    seen = await preview(app, text=text, strategy=strategy, **SMALL)
    assert seen["chunking"] == {"strategy": strategy, **SMALL}
    sizes = sorted(chunk["token_count"] for chunk in seen["chunks"])
    assert seen["totals"]["chunk_count"] == len(sizes) > 5
    assert seen["totals"]["min_tokens"] == sizes[0]
    assert sizes[0] <= seen["totals"]["median_tokens"] <= sizes[-1] == seen["totals"]["max_tokens"] <= 64
    assert not seen["truncated"]
    for chunk in seen["chunks"]:
        assert text[chunk["start"] : chunk["end"]] == chunk["text"]
        assert (chunk["parent"] is None) == (strategy != "hierarchical")
        if chunk["parent"] is not None:
            parent = seen["parents"][chunk["parent"]]
            assert parent["start"] <= chunk["start"] < chunk["end"] <= parent["end"]
            assert text[parent["start"] : parent["end"]] == parent["text"]
            assert chunk["token_count"] <= 16 < parent["token_count"] <= 64
    assert bool(seen["parents"]) == (strategy == "hierarchical")


async def test_a_long_preview_says_that_it_ends_early(app: App) -> None:
    seen = await preview(app, text="One more sentence of eight words is here. " * 4000, max_tokens=16)
    assert seen["truncated"]
    assert len(seen["chunks"]) == seen["totals"]["chunk_count"] == 500
    blank = await preview(app, text=" ")
    assert (blank["chunks"], blank["totals"]["max_tokens"], blank["truncated"]) == ([], 0, False)


@pytest.mark.parametrize(
    ("request_body", "said"),
    [
        ({"text": "x", "strategy": "magic"}, "one of structure, fixed, recursive, sentence, semantic, hierarchical"),
        ({"text": "x", "max_tokens": 251}, "a value from 16 to 250"),
        ({"text": "x", "max_tokens": 5}, "a value from 16 to 250"),
        ({"text": "x", "max_tokens": 1001, "strategy": "hierarchical"}, "a value from 16 to 1000"),
        ({"text": "x", "max_tokens": 40, "overlap_tokens": 21}, "between 0 and 20"),
        ({}, "either"),
        ({"text": "x", "document_id": "y"}, "either"),
    ],
)
async def test_a_preview_that_cannot_be_made_says_why(app: App, request_body: dict[str, Any], said: str) -> None:
    answer = await app.client.post("/api/v1/chunking/preview", json=request_body)
    assert answer.status_code == 400
    assert said in answer.json()["detail"]


async def test_a_document_that_waits_to_be_cut_by_meaning_can_be_cancelled(app: App) -> None:
    key = await collection(app, "semantic")
    app.embedder.turnstile.close()
    try:
        accepted = await app.upload(("waiting.txt", (KEEPER + new_id()).encode()), collection=key)
        async with asyncio.timeout(30):
            await app.embedder.turnstile.reached.wait()
        await app.client.post(f"/api/v1/operations/{accepted['operation_id']}/cancel")
        assert (await app.settle(accepted["operation_id"]))["state"] == "cancelled"
    finally:
        app.embedder.turnstile.open()
    (again,) = await app.ingest(("again.txt", (KEEPER + new_id()).encode()), collection=key)
    assert again["status"] == "ready"


async def test_uploads_previews_and_searches_go_on_while_documents_wait_to_be_cut_by_meaning(app: App) -> None:
    key = await collection(app, "semantic")
    app.embedder.turnstile.close()
    try:
        files = [(f"{at}.txt", f"{KEEPER} {new_id()} {at}".encode()) for at in range(40)]
        accepted = await app.upload(*files, collection=key)
        async with asyncio.timeout(30):
            await app.embedder.turnstile.reached.wait()
            assert (await preview(app, text=KEEPER, strategy="sentence"))["chunks"]
            await app.upload(("other.txt", f"Something else entirely {new_id()}".encode()))
            assert (await app.search("keeper", mode="sparse"))["mode_used"] == "sparse"
    finally:
        app.embedder.turnstile.open()
    operation = await app.settle(accepted["operation_id"])
    assert (operation["state"], operation["failed_count"]) == ("completed", 0)


async def test_stopping_while_cutting_by_meaning_loses_nothing(tmp_path: Path) -> None:
    async with open_app(tmp_path) as app:
        key = await collection(app, "semantic")
        app.embedder.turnstile.close()
        accepted = await app.upload(("long.txt", KEEPER.encode()), collection=key)
        async with asyncio.timeout(30):
            await app.embedder.turnstile.reached.wait()
    async with open_app(tmp_path) as app:
        assert (await app.settle(accepted["operation_id"]))["state"] == "completed"
        document = await app.document(accepted["documents"][0]["id"])
        assert len((await app.vector_ids(key))[document["id"]]) == document["chunk_count"] > 1
