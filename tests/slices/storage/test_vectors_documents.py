"""Documents go in whole, come out whole, and are found exactly once, whatever interrupts the way."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import numpy as np
import pytest
from lancedb.index import FTS

from perplex_mono.errors import Conflict, InvalidInput, NotFound
from perplex_mono.storage import vector_indexes
from perplex_mono.storage.vectors import ChunkBatch, DocumentRows, VectorStore

DIMENSION = 16


def unit_vectors(count: int, seed: int = 0) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    vectors = np.random.default_rng(seed).normal(size=(count, DIMENSION)).astype(np.float32)
    normalised: np.ndarray[tuple[int, int], np.dtype[np.float32]] = vectors / np.linalg.norm(
        vectors, axis=1, keepdims=True
    )
    return normalised


def document(name: str, texts: list[str], *, fresh: bool = True, version: str = "v1", seed: int = 0) -> DocumentRows:
    ids = [f"{name}/{version}/{number}" for number in range(len(texts))]
    return DocumentRows(name, fresh, [ChunkBatch(ids, texts, unit_vectors(len(texts), seed))])


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[VectorStore]:
    opened = await VectorStore.open(tmp_path / "vectors")
    await opened.create_table("t", DIMENSION)
    yield opened
    await opened.close()


async def stored(store: VectorStore) -> dict[str, list[str]]:
    verification = await store.verify("t")
    assert verification.error == ""
    assert verification.duplicate_ids == []
    return {name: sorted(ids) for name, ids in verification.ids_by_document.items()}


async def test_a_new_version_replaces_the_whole_old_one(store: VectorStore) -> None:
    await store.commit_documents("t", [document("a", ["one", "two", "three"]), document("b", ["other"])])
    await store.commit_documents("t", [document("a", ["four"], fresh=False, version="v2")])

    assert await stored(store) == {"a": ["a/v2/0"], "b": ["b/v1/0"]}
    assert await store.search_text("t", "two", 5) == []
    assert [hit.id for hit in await store.search_text("t", "four", 5)] == ["a/v2/0"]


async def test_chunks_that_keep_their_id_take_the_new_text_and_vector(store: VectorStore) -> None:
    await store.commit_documents("t", [document("a", ["apple", "pear"], seed=1)])
    await store.commit_documents("t", [document("a", ["cherry"], fresh=False, seed=2)])

    assert await stored(store) == {"a": ["a/v1/0"]}
    [hit] = await store.search_dense("t", unit_vectors(1, seed=2)[0], 3)
    assert hit.score == pytest.approx(1.0, abs=1e-3)
    assert [hit.id for hit in await store.search_text("t", "cherry", 5)] == ["a/v1/0"]


async def test_fresh_and_replaced_documents_share_one_commit(store: VectorStore) -> None:
    await store.commit_documents("t", [document("a", ["old words"])])
    rows = await store.commit_documents(
        "t", [document("a", ["new words", "more"], fresh=False, version="v2"), document("b", ["fresh"])]
    )

    assert rows == 3
    assert await stored(store) == {"a": ["a/v2/0", "a/v2/1"], "b": ["b/v1/0"]}


async def test_a_document_that_became_empty_leaves_no_chunk(store: VectorStore) -> None:
    await store.commit_documents("t", [document("a", ["words"]), document("b", ["stay"])])
    await store.commit_documents("t", [DocumentRows("a", False, [])])

    assert await stored(store) == {"b": ["b/v1/0"]}


async def test_repeating_a_fresh_commit_after_a_crash_changes_nothing(store: VectorStore) -> None:
    group = [document("a", ["one", "two"]), document("b", ["three"])]
    await store.commit_documents("t", group)
    await store.commit_documents("t", group)
    await store.commit_documents("t", [*group, document("c", ["four"])])

    assert await stored(store) == {"a": ["a/v1/0", "a/v1/1"], "b": ["b/v1/0"], "c": ["c/v1/0"]}


async def test_four_concurrent_commits_of_the_same_documents_leave_each_chunk_once(store: VectorStore) -> None:
    group = [document(name, ["one", "two", "three"]) for name in ("a", "b", "c")]
    await asyncio.gather(*(store.commit_documents("t", group) for _ in range(4)))

    assert {name: len(ids) for name, ids in (await stored(store)).items()} == {"a": 3, "b": 3, "c": 3}


async def test_a_cancelled_commit_ends_whole_and_can_be_repeated(store: VectorStore) -> None:
    for number in range(10):
        group = [document(f"d{number}", ["one", "two"])]
        task = asyncio.create_task(store.commit_documents("t", group))
        await asyncio.sleep(number * 0.002)
        task.cancel()
        await asyncio.wait([task])
        await store.commit_documents("t", group)

    assert {len(ids) for ids in (await stored(store)).values()} == {2}


async def test_closing_waits_for_the_write_of_a_cancelled_caller(tmp_path: Path) -> None:
    store = await VectorStore.open(tmp_path)
    await store.create_table("t", DIMENSION)
    task = asyncio.create_task(store.commit_documents("t", [document("a", ["one"])]))
    await asyncio.sleep(0)
    task.cancel()
    await store.close()

    again = await VectorStore.open(tmp_path)
    assert await stored(again) == {"a": ["a/v1/0"]}
    await again.close()


async def test_a_large_document_streams_in(store: VectorStore) -> None:
    def batches() -> Iterator[ChunkBatch]:
        for start in range(0, 6_000, 500):
            ids = [f"big/{start + offset}" for offset in range(500)]
            yield ChunkBatch(ids, ["text"] * 500, unit_vectors(500, seed=start).astype(np.float16))

    assert await store.commit_documents("t", [DocumentRows("big", True, batches())]) == 6_000
    assert len((await stored(store))["big"]) == 6_000


@pytest.mark.parametrize("fresh", [True, False])
async def test_bad_rows_are_refused_and_leave_the_old_version(store: VectorStore, fresh: bool) -> None:
    await store.commit_documents("t", [document("a", ["old"])])
    good = ChunkBatch(["x/0"], ["text"], unit_vectors(1))
    name = "new" if fresh else "a"
    nan = np.full((1, DIMENSION), np.nan, dtype=np.float32)
    for bad in (
        ChunkBatch(["x/0"], ["the same id"], unit_vectors(1)),
        ChunkBatch(["x/1", "x/2"], ["one text"], unit_vectors(2)),
        ChunkBatch(["x/1", "x/2"], ["two", "texts"], unit_vectors(1)),
        ChunkBatch(["x/1"], ["text"], np.zeros((1, 3), dtype=np.float32)),
        ChunkBatch(["x/1"], ["text"], nan),
    ):
        with pytest.raises(InvalidInput):
            await store.commit_documents("t", [DocumentRows(name, fresh, [good, bad])])

    assert await stored(store) == {"a": ["a/v1/0"]}


async def test_a_reader_sees_the_old_version_or_the_new_one(store: VectorStore) -> None:
    size, rounds = 20, 20
    others = [document(f"other{number}", ["filler"] * 10) for number in range(10)]
    await store.commit_documents("t", [document("a", ["word"] * size, version="v0"), *others])
    reads: list[set[str]] = []
    done = asyncio.Event()

    async def read() -> None:
        while not done.is_set() or len(reads) < 200:
            hits = await store.search_text("t", "word", 100, ["a"])
            nearest = await store.search_dense("t", unit_vectors(1)[0], 100, ["a"])
            for found in (hits, nearest):
                assert len(found) == size
                reads.append({hit.id.split("/")[1] for hit in found})

    reader = asyncio.create_task(read())
    for number in range(1, rounds + 1):
        await store.commit_documents("t", [document("a", ["word"] * size, fresh=False, version=f"v{number}")])
        if number % 5 == 0:
            await store.maintain("t")
    done.set()
    await reader

    assert len(reads) >= 200
    assert all(len(versions) == 1 for versions in reads)
    assert len(set.union(*reads)) > 2


async def test_deleted_documents_are_found_no_more(store: VectorStore) -> None:
    await store.commit_documents("t", [document(name, [f"word {name}"]) for name in ("a", "b", "c")])
    await store.maintain("t")
    await store.delete_documents("t", ["a", "c", "never there"])

    assert await stored(store) == {"b": ["b/v1/0"]}
    assert {hit.document_id for hit in await store.search_text("t", "word", 10)} == {"b"}
    assert {hit.document_id for hit in await store.search_dense("t", unit_vectors(1)[0], 10)} == {"b"}


async def test_delete_takes_hostile_ids_literally(store: VectorStore) -> None:
    hostile = "' OR 1=1 --"
    await store.commit_documents("t", [document("a", ["one"]), document(hostile, ["two"])])
    await store.delete_documents("t", ["x' OR '1'='1", "%", "*"])
    assert set(await stored(store)) == {"a", hostile}

    await store.delete_documents("t", [hostile])
    assert set(await stored(store)) == {"a"}


async def test_tables_are_made_once_and_dropped_for_good(store: VectorStore, tmp_path: Path) -> None:
    await store.commit_documents("t", [document("a", ["one"])])
    await store.create_table("t", DIMENSION)
    assert await stored(store) == {"a": ["a/v1/0"]}
    with pytest.raises(Conflict):
        await store.create_table("t", DIMENSION + 1)
    for name in ("", "../out", "a b", "quarantine", "x" * 200, "a.b"):
        with pytest.raises(InvalidInput):
            await store.create_table(name, DIMENSION)

    await store.drop_table("t")
    await store.drop_table("t")
    assert store.table_names() == []
    assert not (tmp_path / "vectors" / "t.lance").exists()
    with pytest.raises(NotFound):
        await store.search_text("t", "one", 1)


@pytest.mark.parametrize("index", ["text_index", "document_index"])
async def test_a_table_whose_indexes_fail_is_not_left_behind(
    store: VectorStore, tmp_path: Path, index: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(vector_indexes, index, lambda *_: FTS(language="Klingon"))
        for _ in range(2):
            with pytest.raises(ValueError, match="Klingon"):
                await store.create_table("half", DIMENSION)
    assert store.table_names() == ["t"]
    assert not (tmp_path / "vectors" / "half.lance").exists()

    await store.create_table("half", DIMENSION)
    await store.commit_documents("half", [document("a", ["She was running"])])
    assert [hit.document_id for hit in await store.search_text("half", "run", 5)] == ["a"]


async def test_old_versions_do_not_pile_up(tmp_path: Path) -> None:
    store = await VectorStore.open(tmp_path, keep_versions_seconds=0.1)
    await store.create_table("t", DIMENSION)
    for number in range(60):
        await store.commit_documents("t", [document(f"d{number}", ["text"])])
    await asyncio.sleep(0.2)
    assert (await store.maintain("t", idle=False)).optimized

    assert len(list((tmp_path / "t.lance" / "_versions").glob("*.manifest"))) < 10
    assert len(await stored(store)) == 60
    assert not (await store.maintain("t")).optimized
    await store.close()


async def test_a_commit_that_cannot_write_says_so_and_is_not_its_own_cause(tmp_path: Path, store: VectorStore) -> None:
    """An error that is its own cause keeps whoever looks for the first one busy for ever."""
    (table,) = (tmp_path / "vectors").glob("t.lance")
    (table / "data").write_text("a file where the folder of data belongs")
    with pytest.raises((RuntimeError, OSError, ValueError)) as failure:
        await store.commit_documents("t", [document("a", ["one"])])
    assert failure.value.__cause__ is not failure.value
