"""What is deleted leaves the database's file: its bytes go back to the disk, and nothing of it can be read there."""

import asyncio
import shutil
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import text

from perplex_mono.errors import StorageFull
from perplex_mono.storage import database as database_module
from perplex_mono.storage import shrinking, snapshots
from perplex_mono.storage.database import Database
from perplex_mono.storage.disk_full import DiskReserve
from perplex_mono.storage.shrinking import make_shrinkable
from perplex_mono.storage.snapshots import copy_database
from perplex_mono.storage.sqlite_driver import OneTripConnection, connect

SECRET = "qz7kxw91vbn3pfl8"
INCREMENTAL = 2
NO_RESERVE = DiskReserve(0, 0.0)
ROWS = 2000


async def run(database: Database, statement: str, *parameters: dict[str, object]) -> None:
    async with database.write() as session:
        connection = await session.connection()
        await connection.execute(text(statement), list(parameters) or None)


async def fill(database: Database, word: str = "curlew") -> None:
    rows: list[dict[str, object]] = [{"text": f"{number} {word} " * 200} for number in range(ROWS)]
    await run(database, "CREATE TABLE IF NOT EXISTS papers (id INTEGER PRIMARY KEY, text TEXT)")
    await run(database, "INSERT INTO papers (text) VALUES (:text)", *rows)


def pragma(path: Path, name: str) -> object:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(f"PRAGMA {name}").fetchone()[0]


def files_with(folder: Path, word: str) -> list[str]:
    return [path.name for path in folder.iterdir() if word.encode() in path.read_bytes()]


def make_old(path: Path) -> None:
    """A database as versions made it that could not shrink one, with its last writes in the log only."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("CREATE TABLE papers (id INTEGER PRIMARY KEY, text TEXT)")
        rows = [(f"{number} curlew " * 200,) for number in range(ROWS)]
        connection.execute("BEGIN")
        connection.executemany("INSERT INTO papers (text) VALUES (?)", rows)
        connection.execute("DELETE FROM papers WHERE id > 100")
        connection.execute("COMMIT")
        connection.execute("INSERT INTO papers (text) VALUES ('the last one')")
        for suffix in ("", "-wal"):
            shutil.copy(f"{path}{suffix}", f"{path}{suffix}.killed")
    for suffix in ("", "-wal"):
        Path(f"{path}{suffix}.killed").rename(f"{path}{suffix}")


def old_rows(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as connection:
        return [row[0] for row in connection.execute("SELECT text FROM papers ORDER BY id")]


@pytest.fixture
def old(tmp_path: Path) -> Path:
    path = tmp_path / "perplex.db"
    make_old(path)
    assert path.with_name("perplex.db-wal").stat().st_size > 0
    return path


async def test_the_file_shrinks_in_slices_when_rows_are_gone(database: Database) -> None:
    await fill(database)
    assert await database.fold_log()
    full = database.path.stat().st_size
    await run(database, "DELETE FROM papers WHERE id % 10")
    free = pragma(database.path, "freelist_count")
    assert isinstance(free, int)
    assert free > 400

    assert await database.give_back(100), "there is more to give back"
    assert pragma(database.path, "freelist_count") == free - 100, "a slice is as large as it was to be"
    while await database.give_back(100):
        pass
    assert await database.fold_log()
    assert pragma(database.path, "freelist_count") == 0
    assert database.path.stat().st_size < full / 4
    assert await database.damage() == []
    async with database.read() as session:
        connection = await session.connection()
        kept = (await connection.execute(text("SELECT count(*) FROM papers WHERE text LIKE '%curlew%'"))).scalar_one()
    assert kept == ROWS / 10


async def test_giving_back_ends_where_the_file_cannot_shrink(old: Path) -> None:
    database = Database(old)
    assert not await database.give_back(10)
    assert pragma(old, "freelist_count") != 0
    await database.close()


async def test_the_log_is_emptied_unless_somebody_reads_and_writers_hardly_wait_for_that(database: Database) -> None:
    await fill(database)
    log = database.path.with_name("perplex.db-wal")
    with closing(sqlite3.connect(database.path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM papers").fetchone()
        await run(database, "DELETE FROM papers WHERE id = 1")
        assert not await database.fold_log()
        assert log.stat().st_size > 0
        reader.execute("COMMIT")
    assert await database.fold_log()
    assert log.stat().st_size == 0
    async with database.write() as session:
        connection = await session.connection()
        waits = (await connection.execute(text("PRAGMA busy_timeout"))).scalar_one()
    assert waits == database_module.BUSY_TIMEOUT_MS, "other statements wait as long as before"


@pytest.fixture
async def carelessly_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Database]:
    """A database on an SQLite that was built without SQLITE_SECURE_DELETE."""

    async def connect_carelessly(path: Path) -> OneTripConnection:
        connection = await connect(path)
        await connection.execute("PRAGMA secure_delete=OFF")
        return connection

    monkeypatch.setattr(database_module, "connect", connect_carelessly)
    opened = Database(tmp_path / "perplex.db")
    await opened.migrate()
    yield opened
    await opened.close()


async def test_no_byte_of_deleted_text_stays_in_the_file_or_its_log(carelessly_built: Database, tmp_path: Path) -> None:
    database = carelessly_built
    await fill(database)
    await fill(database, SECRET)
    await run(database, "CREATE INDEX paper_texts ON papers (text)")
    assert files_with(tmp_path, SECRET), "or this test could not see what it looks for"
    await run(database, "DELETE FROM papers WHERE text LIKE :pattern", {"pattern": f"%{SECRET}%"})
    assert await database.fold_log()
    assert files_with(tmp_path, SECRET) == [], "also while its pages are still in the file"
    while await database.give_back(100):
        pass
    assert await database.fold_log()
    assert files_with(tmp_path, SECRET) == []
    assert files_with(tmp_path, "curlew") == ["perplex.db"]


async def test_an_old_file_is_rewritten_once_with_what_is_in_its_log(old: Path, tmp_path: Path) -> None:
    rows = old_rows(old)
    make_shrinkable(old, NO_RESERVE)
    assert pragma(old, "auto_vacuum") == INCREMENTAL
    assert [path.name for path in tmp_path.iterdir()] == ["perplex.db"], "no log of the old file beside the new one"
    assert old_rows(old) == rows
    assert rows[-1] == "the last one"
    assert pragma(old, "integrity_check") == "ok"
    inode = old.stat().st_ino
    make_shrinkable(old, NO_RESERVE)
    assert old.stat().st_ino == inode


async def test_a_new_file_can_shrink_from_the_start(database: Database) -> None:
    assert pragma(database.path, "auto_vacuum") == INCREMENTAL
    await database.fold_log()
    inode = database.path.stat().st_ino
    make_shrinkable(database.path, NO_RESERVE)
    assert database.path.stat().st_ino == inode


class FullDisk(DiskReserve):
    """Has no room for anything, and says for how much it was asked."""

    needed_bytes = 0

    def require(self, directory: Path, needed_bytes: int = 0) -> None:
        self.needed_bytes = needed_bytes
        raise StorageFull(f"no {needed_bytes} bytes in {directory}")


async def test_an_old_file_stays_as_it_is_where_the_reserve_does_not_allow_a_second(old: Path, tmp_path: Path) -> None:
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    disk = FullDisk(0, 0.0)
    make_shrinkable(old, disk)
    assert disk.needed_bytes >= len(before["perplex.db"])
    assert_untouched(old)


@pytest.mark.parametrize("limit", ["MAX_REWRITE_SECONDS", "MAX_REWRITE_BYTES"])
async def test_a_start_waits_only_so_long_for_it(old: Path, limit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shrinking, limit, 0)
    monkeypatch.setattr(snapshots, "STEPS_BETWEEN_LOOKS", 1)
    make_shrinkable(old, NO_RESERVE)
    assert_untouched(old)


async def test_a_file_that_is_no_database_is_left_to_whoever_opens_it(tmp_path: Path) -> None:
    path = tmp_path / "perplex.db"
    path.write_bytes(b"no database at all" * 500)
    make_shrinkable(path, NO_RESERVE)
    assert path.read_bytes() == b"no database at all" * 500


async def test_what_a_killed_start_left_is_removed(old: Path) -> None:
    left = old.with_name("perplex.db.rewritten")
    left.write_bytes(b"half")
    make_shrinkable(old, NO_RESERVE)
    assert not left.exists()
    assert pragma(old, "auto_vacuum") == INCREMENTAL


def assert_untouched(old: Path) -> None:
    assert pragma(old, "auto_vacuum") == 0
    assert len(old_rows(old)) == 101
    assert not old.with_name("perplex.db.rewritten").exists()


async def test_a_copy_of_either_can_shrink(old: Path, tmp_path: Path) -> None:
    copy, copy_of_it = tmp_path / "copy.db", tmp_path / "again.db"
    await asyncio.to_thread(copy_database, old, copy, lambda: False)
    await asyncio.to_thread(copy_database, copy, copy_of_it, lambda: False)
    assert [pragma(path, "auto_vacuum") for path in (copy, copy_of_it)] == [INCREMENTAL, INCREMENTAL]
    assert old_rows(copy_of_it) == old_rows(old)
    assert pragma(old, "auto_vacuum") == 0, "a copy changes nothing"
