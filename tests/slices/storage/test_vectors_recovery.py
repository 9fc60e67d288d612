"""What a power loss or a bad disk leaves behind is mended at start, or reported; it never stops the other tables."""

import asyncio
import gc
import os
import subprocess
import sys
from pathlib import Path

import lancedb
import numpy as np
import psutil
import pytest

from perplex_mono.errors import Unavailable
from perplex_mono.storage import lance_handle
from perplex_mono.storage.lance_files import SyncedFolder, quarantine_broken_manifests
from perplex_mono.storage.readiness import vectors_status
from perplex_mono.storage.starting import Starting
from perplex_mono.storage.vectors import ChunkBatch, DocumentRows, VectorStore

DIMENSION = 8


def document(name: str) -> DocumentRows:
    vectors = np.ones((2, DIMENSION), dtype=np.float32)
    return DocumentRows(name, True, [ChunkBatch([f"{name}/0", f"{name}/1"], [f"word {name}"] * 2, vectors)])


async def filled(directory: Path, *tables: str) -> None:
    store = await VectorStore.open(directory)
    for table in tables:
        await store.create_table(table, DIMENSION)
        await store.commit_documents(table, [document("first")])
        await store.commit_documents(table, [document("last")])
    await store.close()


def newest_manifest(table: Path) -> Path:
    return min((table / "_versions").glob("*.manifest"))


@pytest.mark.parametrize("kept_bytes", [0, 7, 200])
async def test_a_truncated_newest_manifest_is_moved_aside(tmp_path: Path, kept_bytes: int) -> None:
    await filled(tmp_path, "t", "other")
    manifest = newest_manifest(tmp_path / "t.lance")
    os.truncate(manifest, kept_bytes)

    store = await VectorStore.open(tmp_path)

    [repair] = store.repairs
    assert "t" in repair
    assert manifest.name in repair
    assert (tmp_path / "quarantine" / "t.lance" / manifest.name).stat().st_size == kept_bytes
    assert set((await store.verify("t")).ids_by_document) == {"first"}
    assert set((await store.verify("other")).ids_by_document) == {"first", "last"}
    await store.commit_documents("t", [document("last")])
    assert {hit.document_id for hit in await store.search_text("t", "last", 5)} == {"last"}
    await store.close()

    again = await VectorStore.open(tmp_path)
    assert again.repairs == []
    assert set((await again.verify("t")).ids_by_document) == {"first", "last"}
    await again.close()


async def test_a_table_that_may_lack_its_last_commits_is_degraded(tmp_path: Path) -> None:
    await filled(tmp_path, "t")
    os.truncate(newest_manifest(tmp_path / "t.lance"), 0)
    vectors = Starting("vectors", lambda _: VectorStore.open(tmp_path))
    vectors.start()
    store = await vectors.wait()
    status = await vectors_status(vectors)
    assert status.state == "degraded"
    assert "doctor --repair" in (status.reason or "")
    await store.close()


async def test_sound_manifests_are_left_alone(tmp_path: Path) -> None:
    await filled(tmp_path, "t")
    assert quarantine_broken_manifests(tmp_path / "t.lance", tmp_path / "quarantine") == []
    assert not (tmp_path / "quarantine").exists()


async def test_a_table_beyond_opening_is_reported_and_can_be_made_anew(tmp_path: Path) -> None:
    await filled(tmp_path, "bad", "good")
    for manifest in (tmp_path / "bad.lance" / "_versions").glob("*.manifest"):
        os.truncate(manifest, 0)

    store = await VectorStore.open(tmp_path)

    health = {table.name: table for table in await store.health()}
    assert not health["bad"].ok
    assert health["bad"].reason
    assert (health["good"].ok, health["good"].rows) == (True, 4)
    with pytest.raises(Unavailable):
        await store.search_text("bad", "word", 5)
    with pytest.raises(Unavailable):
        await store.create_table("bad", DIMENSION)
    await store.drop_table("bad")
    await store.create_table("bad", DIMENSION)
    await store.commit_documents("bad", [document("again")])
    assert set((await store.verify("bad")).ids_by_document) == {"again"}
    await store.close()


@pytest.mark.parametrize("lost", [["text_idx"], ["document_id_idx"], ["text_idx", "document_id_idx"]])
async def test_an_index_that_a_table_lacks_is_made_over_its_rows(tmp_path: Path, lost: list[str]) -> None:
    await filled(tmp_path, "t", "whole")
    connection = await lancedb.connect_async(tmp_path)
    table = await connection.open_table("t")
    for name in lost:
        await table.drop_index(name)

    store = await VectorStore.open(tmp_path)

    assert len(store.repairs) == len(lost)
    assert all("Table t" in repair and name in repair for name, repair in zip(lost, store.repairs, strict=True))
    assert {hit.document_id for hit in await store.search_text("t", "word", 5)} == {"first", "last"}
    assert {hit.document_id for hit in await store.search_text("t", "words", 5, ["last"])} == {"last"}
    await store.close()
    mended = await connection.open_table("t")
    assert {index.name for index in await mended.list_indices()} == {"text_idx", "document_id_idx"}
    again = await VectorStore.open(tmp_path)
    assert again.repairs == []
    await again.close()


async def test_an_empty_data_file_passes_counting_but_not_health_or_verify(tmp_path: Path) -> None:
    await filled(tmp_path, "t")
    os.truncate(max((tmp_path / "t.lance" / "data").iterdir(), key=lambda path: path.stat().st_mtime_ns), 0)

    store = await VectorStore.open(tmp_path)

    [health] = await store.health()
    assert (health.ok, health.rows) == (False, 4)
    assert "truncated" in health.reason
    assert (await store.verify("t")).error
    with pytest.raises(Unavailable, match="doctor --repair"):
        await store.search_text("t", "word", 5)
    with pytest.raises(Unavailable, match="doctor --repair"):
        await store.search_dense("t", np.ones(DIMENSION, dtype=np.float32), 5)
    await store.close()


def test_a_folder_is_synced_once(tmp_path: Path) -> None:
    folder = SyncedFolder(tmp_path)
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "a").write_bytes(b"a")
    (tmp_path / "b").write_bytes(b"b")
    assert folder.sync() == 2
    assert folder.sync() == 0
    (tmp_path / "inner" / "c").write_bytes(b"c")
    assert folder.sync() == 1


def test_importing_the_store_does_not_import_lancedb() -> None:
    code = "import sys, perplex_mono.storage.vectors; sys.exit('lancedb' in sys.modules or 'pyarrow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def long_document(number: int) -> DocumentRows:
    vectors = np.random.default_rng(number).standard_normal((20, DIMENSION)).astype(np.float32)
    ids, texts = [f"{number}/{n}" for n in range(20)], [f"word number {number} {n}" for n in range(20)]
    return DocumentRows(str(number), True, [ChunkBatch(ids, texts, vectors)])


@pytest.mark.skipif(sys.platform != "linux", reason="open files are listed in /proc on Linux only")
async def test_files_of_replaced_indexes_are_closed_while_searches_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def open_files() -> int:
        return sum(file.path.startswith(str(tmp_path)) for file in psutil.Process().open_files())

    async def search() -> None:
        while not is_over.is_set():
            assert await store.search_text("t", "word", 3)

    monkeypatch.setattr(lance_handle, "MAX_REPLACEMENTS", 5)
    is_over = asyncio.Event()
    store = await VectorStore.open(tmp_path, keep_versions_seconds=1.0)
    await store.create_table("t", DIMENSION)
    await store.commit_documents("t", [document("first")])
    searching = asyncio.create_task(search())
    for number in range(70):
        await store.commit_documents("t", [long_document(number)])
        await store.maintain("t")
        await store.search_text("t", "word", 3)
    is_over.set()
    await searching
    gc.collect()
    assert open_files() < 12, "twenty and more, if nobody closed them"
    assert len((await store.verify("t")).ids_by_document) == 71
    await store.close()
    gc.collect()
    assert open_files() == 0
