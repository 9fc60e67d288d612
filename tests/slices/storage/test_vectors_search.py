"""Both searches find what is there, by meaning and by word, within the documents asked for, whatever the query says."""

from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest

from perplex_mono.errors import InvalidInput
from perplex_mono.storage import vector_indexes
from perplex_mono.storage.vectors import ChunkBatch, DocumentRows, VectorStore
from perplex_mono.text_languages import NO_STEMMING, STEMMED_LANGUAGES

DIMENSION = 8


def clusters(count: int, seed: int = 0) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    generator = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(32, DIMENSION))
    vectors = centres[generator.integers(0, 32, count)] + generator.normal(scale=0.3, size=(count, DIMENSION))
    normalised: np.ndarray[tuple[int, int], np.dtype[np.float32]] = (
        vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    ).astype(np.float32)
    return normalised


def document(name: str, *texts: str, seed: int = 0) -> DocumentRows:
    ids = [f"{name}/{number}" for number in range(len(texts))]
    return DocumentRows(name, True, [ChunkBatch(ids, texts, clusters(len(texts), seed))])


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[VectorStore]:
    opened = await VectorStore.open(tmp_path)
    await opened.create_table("t", DIMENSION)
    yield opened
    await opened.close()


@pytest.mark.parametrize("indexed", [False, True])
async def test_words_are_found_by_their_stem(store: VectorStore, indexed: bool) -> None:
    await store.commit_documents("t", [document("a", "She was running home.", "Nothing here"), document("b", "Cats")])
    if indexed:
        assert (await store.maintain("t")).optimized

    assert [hit.id for hit in await store.search_text("t", "run", 5)] == ["a/0"]
    assert [hit.id for hit in await store.search_text("t", "CAT?", 5)] == ["b/0"]


async def test_language_none_finds_words_as_they_are(tmp_path: Path) -> None:
    store = await VectorStore.open(tmp_path, fts_language="none")
    await store.create_table("t", DIMENSION)
    await store.commit_documents("t", [document("a", "She was running home.")])

    assert await store.search_text("t", "run", 5) == []
    assert [hit.id for hit in await store.search_text("t", "Running", 5)] == ["a/0"]
    await store.close()


@pytest.mark.parametrize("language", [*STEMMED_LANGUAGES, NO_STEMMING])
async def test_every_language_of_the_settings_makes_an_index(tmp_path: Path, language: str) -> None:
    store = await VectorStore.open(tmp_path, fts_language=language)
    await store.create_table("t", DIMENSION)
    await store.commit_documents("t", [document("a", "zebra 42")])
    assert (await store.maintain("t")).optimized
    assert [hit.id for hit in await store.search_text("t", "zebra", 5)] == ["a/0"]
    await store.close()


async def test_languages_outside_the_settings_are_refused_by_the_store_itself(tmp_path: Path) -> None:
    """When this fails, the store has learned a language: add it to `STEMMED_LANGUAGES`."""
    for language in ("Klingon", "Chinese", "Czech", "Estonian", "Hebrew", "Hindi", "Polish", "Ukrainian"):
        store = await VectorStore.open(tmp_path / language, fts_language=language)
        with pytest.raises(ValueError, match=language):
            await store.create_table("t", DIMENSION)
        await store.close()


async def test_text_scores_fall_and_rarer_words_weigh_more(store: VectorStore) -> None:
    await store.commit_documents("t", [document("a", "common rare", "common thing", "common stuff", "none of it")])
    hits = await store.search_text("t", "common rare", 10)

    assert hits[0].id == "a/0"
    assert {hit.id for hit in hits} == {"a/0", "a/1", "a/2"}
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)


@pytest.mark.parametrize("query", ["", "   ", "\"'()", "🙂", "*:~^", "\x00", "!?", "-" * 5_000])
async def test_a_query_without_words_finds_nothing(store: VectorStore, query: str) -> None:
    await store.commit_documents("t", [document("a", "some text")])
    assert await store.search_text("t", query, 5) == []


@pytest.mark.parametrize(
    "query",
    [
        '"text',
        "text AND (",
        "text:[a TO b]",
        "+text -some",
        "text~2^9",
        "NOT text",
        "' OR 1=1 -- text",
        "text\x00",
        "{text}",
    ],
)
async def test_query_syntax_is_only_words(store: VectorStore, query: str) -> None:
    await store.commit_documents("t", [document("a", "some text"), document("b", "unrelated")])
    assert [hit.id for hit in await store.search_text("t", query, 5)] == ["a/0"]


async def test_an_empty_table_answers_with_nothing(store: VectorStore) -> None:
    assert await store.search_text("t", "word", 5) == []
    assert await store.search_dense("t", clusters(1)[0], 5) == []
    assert not (await store.maintain("t")).optimized


async def test_filters_keep_to_the_documents_asked_for(store: VectorStore) -> None:
    names = [f"doc{number}" for number in range(300)]
    await store.commit_documents("t", [document(name, "word one", "word two", seed=i) for i, name in enumerate(names)])
    query = clusters(1)[0]
    for wanted in ({"doc7"}, {"doc1", "doc2", "gone"}, set(names), {*names, *(f"x{i}" for i in range(10_000))}):
        expected = wanted & set(names)
        assert {hit.document_id for hit in await store.search_dense("t", query, 1_000, wanted)} == expected
        assert {hit.document_id for hit in await store.search_text("t", "word", 1_000, wanted)} == expected
    for nobody in ([], ["' OR 1=1 --"], ["doc7' OR '1'='1"], ["%"]):
        assert await store.search_dense("t", query, 5, nobody) == []
        assert await store.search_text("t", "word", 5, nobody) == []


async def test_dense_scores_are_cosines_best_first(store: VectorStore) -> None:
    await store.commit_documents("t", [document("a", *["text"] * 50)])
    vectors, query = clusters(50), clusters(1, seed=5)[0]
    hits = await store.search_dense("t", query * 3, 5)

    order = np.argsort(-(vectors @ query))[:5]
    assert [hit.id for hit in hits] == [f"a/{number}" for number in order]
    assert [hit.score for hit in hits] == pytest.approx((vectors @ query)[order].tolist(), abs=2e-3)


async def test_queries_of_the_wrong_shape_are_refused(store: VectorStore) -> None:
    for bad in (np.ones(3, dtype=np.float32), np.full(DIMENSION, np.nan, dtype=np.float32)):
        with pytest.raises(InvalidInput):
            await store.search_dense("t", bad, 5)


async def test_with_a_vector_index_old_and_new_rows_are_found_and_deleted_ones_are_not(
    store: VectorStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vector_indexes, "MIN_ROWS_FOR_VECTOR_INDEX", 2_000)
    await store.commit_documents("t", [document(f"d{i}", *["text"] * 100, seed=i) for i in range(25)])
    assert (await store.maintain("t")).vector_index_built
    assert not (await store.maintain("t")).vector_index_built

    unusual = DocumentRows("new", True, [ChunkBatch(["new/0"], ["text"], clusters(1, seed=77))])
    await store.commit_documents("t", [unusual])
    await store.delete_documents("t", ["d3"])
    again = await VectorStore.open(tmp_path)
    for opened in (store, again):
        assert (await opened.search_dense("t", clusters(1, seed=77)[0], 1))[0].id == "new/0"
        overlap = []
        for query in clusters(50, seed=123):
            found = {hit.id for hit in await opened.search_dense("t", query, 10)}
            exact = {hit.id for hit in await opened.search_dense("t", query, 10, exact=True)}
            assert not any(key.startswith("d3/") for key in found | exact)
            overlap.append(len(found & exact))
        assert sum(overlap) / 500 > 0.9
    only = await store.search_dense("t", clusters(1)[0], 5, ["d24"])
    assert [hit.document_id for hit in only] == ["d24"] * 5
    await again.close()
