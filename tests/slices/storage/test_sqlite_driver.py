"""The driver under SQLAlchemy: one trip a statement, whole results, and nothing left open."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from perplex_mono.storage.sqlite_driver import OneTripConnection, connect


class Counting(OneTripConnection):
    """Counts the trips to the connection's thread."""

    trips = 0

    async def _execute(self, fn, *args, **kwargs):  # type: ignore[no-untyped-def]  # untyped in aiosqlite
        self.trips += 1
        return await super()._execute(fn, *args, **kwargs)  # type: ignore[no-untyped-call]


@pytest_asyncio.fixture
async def connection(tmp_path: Path) -> AsyncIterator[Counting]:
    opened = Counting(lambda: sqlite3.connect(tmp_path / "numbers.db", isolation_level=None), 1)
    async with opened:
        await opened.cursor().execute("CREATE TABLE numbers (number INTEGER PRIMARY KEY, name TEXT UNIQUE)")
        yield opened


async def test_a_statement_is_one_trip_with_its_rows(connection: Counting) -> None:
    async with connection.cursor() as cursor:
        await cursor.executemany("INSERT INTO numbers VALUES (?, ?)", [(1, "one"), (2, "two"), (3, "three")])
        assert cursor.rowcount == 3
    before = connection.trips
    async with connection.cursor() as cursor:
        await cursor.execute("SELECT number, name FROM numbers WHERE number > ? ORDER BY number", [1])
        assert [column[0] for column in cursor.description] == ["number", "name"]
        assert await cursor.fetchall() == [(2, "two"), (3, "three")]
        assert await cursor.fetchall() == []
    assert connection.trips == before + 1


async def test_a_write_says_what_it_did(connection: Counting) -> None:
    cursor = connection.cursor()
    await cursor.execute("INSERT INTO numbers (name) VALUES ('seven')")
    assert cursor.lastrowid == 1
    await cursor.execute("UPDATE numbers SET name = 'eight' WHERE number = 1")
    assert cursor.rowcount == 1
    await cursor.execute("INSERT INTO numbers (name) VALUES ('nine') RETURNING number")
    assert await cursor.fetchall() == [(2,)]


async def test_an_error_is_the_databases_own_and_the_connection_goes_on(connection: Counting) -> None:
    cursor = connection.cursor()
    await cursor.execute("INSERT INTO numbers VALUES (1, 'one')")
    with pytest.raises(sqlite3.IntegrityError):
        await cursor.execute("INSERT INTO numbers VALUES (2, 'one')")
    await cursor.execute("SELECT count(*) FROM numbers")
    assert await cursor.fetchall() == [(1,)]


async def test_a_cancelled_read_leaves_no_statement_that_could_hold_a_lock(
    connection: Counting, tmp_path: Path
) -> None:
    endless = (
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 3000000) SELECT max(i) FROM n, numbers"
    )
    await connection.cursor().execute("INSERT INTO numbers VALUES (1, 'one')")
    reading = asyncio.ensure_future(connection.cursor().execute(endless))
    await asyncio.sleep(0.01)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    await connection.close()
    with sqlite3.connect(tmp_path / "numbers.db", timeout=0) as other:
        other.execute("BEGIN EXCLUSIVE")


async def test_a_closed_connection_says_so(tmp_path: Path) -> None:
    connection = await connect(tmp_path / "closed.db")
    await connection.close()
    with pytest.raises(ValueError, match="no active connection"):
        await connection.cursor().execute("SELECT 1")
