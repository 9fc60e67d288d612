"""Deleted means gone from the files as well, while everything else stays found."""

from pathlib import Path

import numpy as np
import pytest

from perplex_mono.storage.vectors import ChunkBatch, DocumentRows, VectorStore

pytestmark = pytest.mark.filterwarnings("ignore:optimize")  # nobody else is at the tables of a test

DIMENSION = 16
SECRET = "qz7kxw91vbn3pfl8"


def _document(name: str, word: str) -> DocumentRows:
    texts = [f"ordinary words of {name} number {number} {word}" for number in range(20)]
    return DocumentRows(name, True, [ChunkBatch([f"{name}/{n}" for n in range(20)], texts, _vectors(20))])


def _vectors(count: int) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    return np.random.default_rng(0).normal(size=(count, DIMENSION)).astype(np.float32)


def _files_with(folder: Path, word: str) -> list[str]:
    return [str(path) for path in folder.rglob("*") if path.is_file() and word.encode() in path.read_bytes()]


async def test_deleted_text_leaves_the_files_and_the_rest_is_still_found(tmp_path: Path) -> None:
    store = await VectorStore.open(tmp_path / "vectors", keep_versions_seconds=0.0)
    await store.create_table("t", DIMENSION)
    await store.commit_documents("t", [_document(f"d{number}", "harbour") for number in range(30)])
    await store.commit_documents("t", [_document("secret", SECRET)])
    await store.maintain("t")
    assert await store.deleted_seconds("t") is None
    await store.purge_deleted("t")
    assert _files_with(tmp_path, SECRET), "or this test could not see what it looks for"

    await store.delete_documents("t", ["secret"])
    assert await store.deleted_seconds("t") is not None
    await store.purge_deleted("t")
    await store.purge_deleted("t")

    assert await store.deleted_seconds("t") is None
    assert _files_with(tmp_path, SECRET) == []
    verified = await store.verify("t")
    assert (verified.error, verified.duplicate_ids, len(verified.ids_by_document)) == ("", [], 30)
    assert len(await store.search_text("t", "harbour", 1000)) == 600
    assert await store.search_text("t", SECRET, 10) == []
    assert len(await store.search_dense("t", _vectors(1)[0], 1000)) == 600
    await store.close()


async def test_words_are_stemmed_after_a_purge_as_before(tmp_path: Path) -> None:
    for language, found in (("English", 1), ("none", 0)):
        store = await VectorStore.open(tmp_path / language, fts_language=language, keep_versions_seconds=0.0)
        await store.create_table("t", DIMENSION)
        for name, text in (("a", "The harbours are frozen"), ("b", "Something else")):
            await store.commit_documents("t", [DocumentRows(name, True, [ChunkBatch([name], [text], _vectors(1))])])
        await store.maintain("t")
        await store.delete_documents("t", ["b"])
        await store.purge_deleted("t")
        assert len(await store.search_text("t", "harbour", 5)) == found
        await store.close()
