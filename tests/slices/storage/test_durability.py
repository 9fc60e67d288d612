"""What is acknowledged has been synced: the calls themselves are watched, for no test can cut the power."""

import os
import sqlite3
import sys
from collections.abc import AsyncIterable
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from perplex_mono.storage.blobs import BlobStore
from perplex_mono.storage.database import Database
from perplex_mono.storage.vectors import ChunkBatch, DocumentRows, VectorStore
from tests.app_client import open_app

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the path of an open file is in /proc on Linux only")
DIMENSION = 8


class Disk:
    """Calls of fsync and of renaming, in their order, with the path each had then."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[tuple[str, str]] = []
        fsync, replace = os.fsync, Path.replace

        def watched_fsync(descriptor: int) -> None:
            self.calls.append(("fsync", str(Path(f"/proc/self/fd/{descriptor}").readlink())))
            fsync(descriptor)

        def watched_replace(path: Path, target: Path) -> Path:
            self.calls.append(("rename", str(target)))
            return replace(path, target)

        monkeypatch.setattr(os, "fsync", watched_fsync)
        monkeypatch.setattr(Path, "replace", watched_replace)

    @property
    def synced(self) -> set[str]:
        return {path for call, path in self.calls if call == "fsync"}


async def words(text: bytes) -> AsyncIterable[bytes]:
    yield text


async def test_an_original_is_synced_then_named_then_its_folder_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blobs = BlobStore(tmp_path, reserve_bytes=0, reserve_fraction=0.0)
    blobs.open()
    disk = Disk(monkeypatch)
    blob = await blobs.receive_all(words(b"The tide turns."), 1000)
    blob.keep()
    (written, named, folder) = disk.calls
    assert written[0] == "fsync"
    assert Path(written[1]).parent == tmp_path / "incoming"
    assert named == ("rename", str(blobs.path(blob.sha256)))
    assert folder == ("fsync", str(tmp_path))


async def test_every_file_of_a_commit_to_the_index_is_synced_and_every_folder_that_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = await VectorStore.open(tmp_path)
    await store.create_table("t", DIMENSION)
    for name in ("a", "b"):
        before = {str(path) for path in (tmp_path / "t.lance").rglob("*")}
        disk = Disk(monkeypatch)
        vectors = np.ones((1, DIMENSION), dtype=np.float32)
        await store.commit_documents("t", [DocumentRows(name, True, [ChunkBatch([f"{name}/0"], ["word"], vectors)])])
        fresh = {str(path) for path in (tmp_path / "t.lance").rglob("*")} - before
        assert any(path.endswith(".lance") for path in fresh)
        assert any(path.endswith(".manifest") for path in fresh)
        assert fresh <= disk.synced
        assert {str(Path(path).parent) for path in fresh} <= disk.synced
        monkeypatch.undo()
    await store.close()


async def test_an_upload_is_answered_after_its_original_was_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_app(tmp_path) as app:
        app.embedder.turnstile.close()
        disk = Disk(monkeypatch)
        (accepted,) = (await app.upload(("tide.txt", b"The tide turns twice a day.")))["documents"]
        answered = list(disk.calls)
        sha256 = (await app.document(accepted["id"]))["sha256"]
        named = answered.index(("rename", str(app.data / "blobs" / sha256)))
        assert {call for call, _ in answered[:named]} == {"fsync"}
        assert ("fsync", str(app.data / "blobs")) in answered[named:]
        app.embedder.turnstile.open()


async def test_records_are_synced_with_each_commit(database: Database) -> None:
    async with database.write() as session:
        connection = await session.connection()
        (level,) = (await connection.exec_driver_sql("PRAGMA synchronous")).one()
        (mode,) = (await connection.exec_driver_sql("PRAGMA journal_mode")).one()
    assert (level, mode) == (2, "wal"), "FULL: the log is synced before a commit returns"
    with closing(sqlite3.connect(database.path)) as other:
        assert other.execute("PRAGMA journal_mode").fetchone() == ("wal",)
