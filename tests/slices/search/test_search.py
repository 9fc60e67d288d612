"""Search on real vectors and a real full-text index: fused, filtered, explained, and honest about its limits."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio

from perplex_mono.errors import Overloaded, Unavailable
from tests.app_client import App, open_app

pytestmark = pytest.mark.asyncio(loop_scope="module")
TEXTS = {
    "cats.txt": "The cat slept on the warm windowsill all afternoon.",
    "dogs.txt": "The dog chased the cat around the garden twice.",
    "tides.md": "# Tides\n\nSpring tides are highest when sun and moon stand in one line.",
    "moon.md": "# Moon\n\nThe moon circles the earth in twenty seven days.",
    "bread.txt": "Bread rises when yeast turns sugar into gas. The dough must rest.",
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def app(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[App]:
    async with open_app(tmp_path_factory.mktemp("search"), search={"rrf_k": 7, "sparse_weight": 0.5}) as opened:
        for name, text in TEXTS.items():
            await opened.ingest((name, text.encode()), tags="animals,all" if "s.t" in name else "all")
        yield opened


async def by_name(app: App) -> dict[str, Any]:
    items = (await app.client.get("/api/v1/collections/default/documents")).json()["items"]
    return {item["name"]: item for item in items}


async def refused(app: App, **request: Any) -> int:
    return (await app.client.post("/api/v1/search", json=request)).status_code


async def test_words_find_their_documents_in_every_mode(app: App) -> None:
    for mode in ("hybrid", "dense", "sparse"):
        found = await app.search("yeast dough bread", mode=mode)
        assert found["hits"][0]["document"]["name"] == "bread.txt"
        assert (found["mode_used"], found["warnings"]) == (mode, [])
    assert await app.names_found("yeast", mode="sparse") == ["bread.txt"]
    assert len(await app.names_found("yeast", mode="dense")) == 5


async def test_stems_are_found(app: App) -> None:
    assert await app.names_found("circling", mode="sparse") == ["moon.md"]


async def test_scores_and_ranks_explain_the_fusion(app: App) -> None:
    hits = (await app.search("the cat and the moon", explain=True))["hits"]
    assert len(hits) == 5
    dense = {hit["chunk_id"]: hit["scores"]["dense"] for hit in hits}
    assert [hit["ranks"]["dense"] for hit in sorted(hits, key=lambda hit: -dense[hit["chunk_id"]])] == [1, 2, 3, 4, 5]
    for hit in hits:
        ranks, scores = hit["ranks"], hit["scores"]
        expected = 1.0 / (7 + ranks["dense"]) + (0.5 / (7 + ranks["sparse"]) if ranks["sparse"] else 0.0)
        assert scores["fused"] == hit["score"] == pytest.approx(expected)
        assert (ranks["sparse"] is None) == (scores["sparse"] is None)
        assert scores["rerank"] is None
    assert [hit["score"] for hit in hits] == sorted((hit["score"] for hit in hits), reverse=True)


async def test_the_score_is_the_modes_own(app: App) -> None:
    for mode in ("dense", "sparse"):
        for hit in (await app.search("cat", mode=mode, explain=True))["hits"]:
            assert hit["score"] == hit["scores"][mode]
            assert hit["scores"]["sparse" if mode == "dense" else "dense"] is None


async def test_nothing_is_explained_unasked(app: App) -> None:
    for hit in (await app.search("cat"))["hits"]:
        assert (hit["scores"], hit["ranks"]) == (None, None)


async def test_dense_scores_are_cosines(app: App) -> None:
    (first, *_) = (await app.search(TEXTS["cats.txt"], mode="dense", explain=True))["hits"]
    assert first["document"]["name"] == "cats.txt"
    assert first["scores"]["dense"] == pytest.approx(1.0, abs=0.01)


async def test_a_floor_holds_for_the_dense_score(app: App) -> None:
    every = (await app.search("the cat slept", explain=True))["hits"]
    scores = sorted(hit["scores"]["dense"] for hit in every)
    floor = (scores[-2] + scores[-1]) / 2
    for mode in ("hybrid", "dense"):
        hits = (await app.search("the cat slept", mode=mode, min_dense_score=floor, explain=True))["hits"]
        assert [hit["scores"]["dense"] >= floor for hit in hits] == [True]
    assert (await app.search("the cat slept", min_dense_score=1.0))["hits"] == []
    sparse = await app.search("cat", mode="sparse", min_dense_score=0.9)
    assert sparse["hits"]
    assert "min_dense_score" in sparse["warnings"][0]


async def test_highlights_mark_the_words_asked_for(app: App) -> None:
    (hit,) = (await app.search("Where is the garden?", mode="sparse"))["hits"][:1]
    assert [hit["text"][mark["start"] : mark["end"]] for mark in hit["highlights"]] == ["garden"]


async def test_filters_choose_documents(app: App) -> None:
    documents = await by_name(app)

    async def found(**filters: Any) -> list[str]:
        return sorted(await app.names_found("the moon and the cat", filters=filters))

    assert await found() == sorted(TEXTS)
    assert await found(document_ids=[documents["moon.md"]["id"], "unknown"]) == ["moon.md"]
    assert await found(document_ids=[]) == []
    assert await found(media_types=["text/markdown"]) == ["moon.md", "tides.md"]
    assert await found(tags=["all"]) == sorted(TEXTS)
    assert await found(tags=["all", "animals"]) == ["cats.txt", "dogs.txt"]
    assert await found(tags=["animals"], media_types=["text/markdown"]) == []
    assert await found(tags=["'; DROP TABLE documents; --"]) == []
    at = documents["tides.md"]["created_at"]
    assert await found(created_after=at) == ["bread.txt", "moon.md", "tides.md"]
    assert await found(created_before=at) == ["cats.txt", "dogs.txt"]
    later = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    assert await found(created_after=later) == []


async def test_filters_hold_in_every_mode(app: App) -> None:
    for mode in ("hybrid", "dense", "sparse"):
        assert await app.names_found("cat moon", mode=mode, filters={"tags": ["animals"]}, limit=50)
        assert set(await app.names_found("cat moon", mode=mode, filters={"tags": ["animals"]}, limit=50)) <= {
            "cats.txt",
            "dogs.txt",
        }


async def test_several_collections_are_fused_by_place(app: App) -> None:
    other = await app.new_collection("second shelf")
    empty = await app.new_collection("empty shelf")
    await app.ingest(("lion.txt", b"A lion is a large cat of the plains."), collection=other)
    assert await app.names_found("cat", mode="sparse", collection_ids=[other]) == ["lion.txt"]
    assert "lion.txt" not in await app.names_found("cat")
    found = await app.search("large cat plains", collection_ids=["default", other, empty], limit=20, explain=True)
    names = [hit["document"]["name"] for hit in found["hits"]]
    assert sorted(names) == sorted([*TEXTS, "lion.txt"])
    assert "lion.txt" in names[:2], "the first place of its own collection"
    for hit in found["hits"]:
        places = (1.0, hit["ranks"]["dense"]), (0.5, hit["ranks"]["sparse"])
        assert hit["score"] == pytest.approx(sum(weight / (7 + place) for weight, place in places if place))
    assert {hit["collection_id"] for hit in found["hits"]} == {other, (await by_name(app))["cats.txt"]["collection_id"]}
    assert (await app.search("cat", collection_ids=[empty]))["hits"] == []
    assert await refused(app, query="cat", collection_ids=["default", "unknown"]) == 404
    default = (await app.client.get("/api/v1/collections/default")).json()["id"]
    twice = await app.names_found("cat", collection_ids=["default", default], limit=20)
    assert len(twice) == len(TEXTS)


@pytest.mark.parametrize(
    "request_body",
    [
        {},
        {"query": ""},
        {"query": " \n\t "},
        {"query": "x" * 4097},
        {"query": "x", "limit": 0},
        {"query": "x", "limit": 1001},
        {"query": "x", "mode": "magic"},
        {"query": "x", "min_dense_score": 1.5},
        {"query": "x", "collection_ids": []},
        {"query": "x", "filters": {"colour": "red"}},
        {"query": "x", "filters": {"created_after": "yesterday"}},
        {"query": "x", "filters": {"created_after": "2026-01-01T00:00:00"}},
    ],
)
async def test_what_cannot_be_searched_is_refused(app: App, request_body: dict[str, Any]) -> None:
    assert await refused(app, **request_body) == 400


@pytest.mark.parametrize(
    "query", ["x" * 4096, '"cat', "cat AND (", "cat*~^2", "title:cat", "-cat +dog", "%_'\\", "\0", "🙂"]
)
async def test_nothing_in_a_query_is_syntax(app: App, query: str) -> None:
    for mode in ("hybrid", "sparse"):
        assert (await app.search(query, mode=mode))["mode_used"] == mode


async def test_limits_are_kept(app: App) -> None:
    assert len(await app.names_found("the", limit=2)) == 2
    assert len(await app.names_found("the", limit=1000)) == 5


async def test_without_a_model_words_alone_must_do(app: App) -> None:
    app.embedder.error = Unavailable("embedding", "the model is loading")
    try:
        found = await app.search("cat ", mode="hybrid")
        assert found["mode_used"] == "sparse"
        assert "the model is loading" in found["warnings"][0]
        assert sorted(hit["document"]["name"] for hit in found["hits"]) == ["cats.txt", "dogs.txt"]
        assert await refused(app, query="cat ", mode="dense") == 503
        assert (await app.search("cat", mode="sparse"))["warnings"] == []
    finally:
        app.embedder.error = None


async def test_a_full_model_queue_is_told_as_such(app: App) -> None:
    app.embedder.error = Overloaded("Too many queries wait.", 3)
    try:
        answer = await app.client.post("/api/v1/search", json={"query": "cat, please"})
    finally:
        app.embedder.error = None
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "3")


async def test_a_repeated_search_is_answered_from_memory_until_anything_changes(app: App) -> None:
    first = await app.search("whiskers", mode="hybrid")
    again = await app.search("whiskers", mode="hybrid")
    assert list(again["timings_ms"]) == ["total"]
    assert again["hits"] == first["hits"]
    await app.ingest(("more.txt", b"Whiskers help at night, whiskers are long."))
    fresh = await app.search("whiskers", mode="hybrid")
    assert "more.txt" in [hit["document"]["name"] for hit in fresh["hits"]]


async def test_a_repeated_search_never_shows_what_was_deleted(app: App) -> None:
    (document,) = await app.ingest(("gone.txt", b"A zeppelin floats over the lake."))
    assert "gone.txt" in [hit["document"]["name"] for hit in (await app.search("zeppelin"))["hits"]]
    await app.client.delete(f"/api/v1/documents/{document['id']}")
    assert "gone.txt" not in [hit["document"]["name"] for hit in (await app.search("zeppelin"))["hits"]]


async def test_reranking_without_a_model_is_warned_of(app: App) -> None:
    assert "rerank" in (await app.search("cat", rerank=True))["warnings"][0]


async def test_vectors_of_another_model_are_not_compared(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app.embedder, "model_key", "another")
    found = await app.search("cat", explain=True)
    assert "is not the one this index was built with" in found["warnings"][0]
    assert {hit["scores"]["dense"] for hit in found["hits"]} == {None}
    assert sorted(hit["document"]["name"] for hit in found["hits"]) == ["cats.txt", "dogs.txt"]


async def test_deleted_documents_never_appear_even_before_they_are_purged(app: App) -> None:
    (document,) = await app.ingest(("gone.txt", b"The cat of Cheshire is gone, the cat, the cat."))
    assert "gone.txt" in await app.names_found("cat Cheshire")
    async with app.container.operations._database.write() as session:
        row = await session.get(type(await app.container.documents.get_row(document["id"], "local")), document["id"])
        assert row is not None
        row.status = "deleting"
    assert document["id"] in await app.vector_ids(), "it is still in the index"
    for mode in ("hybrid", "dense", "sparse"):
        assert "gone.txt" not in await app.names_found("cat Cheshire", mode=mode, limit=100)
    assert len(await app.names_found("cat Cheshire", mode="dense", limit=5)) == 5, "others fill its place"


async def test_timings_name_the_steps(app: App) -> None:
    timings = (await app.search("cat"))["timings_ms"]
    assert {"filter", "embed", "retrieve", "hydrate", "total"} == set(timings)
    assert timings["total"] >= timings["retrieve"] >= 0
