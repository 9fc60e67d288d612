"""aiosqlite with one change of threads per statement instead of four.

aiosqlite runs every call of a connection on that connection's thread, and SQLAlchemy makes four a statement: open a
cursor, execute, fetch, close. Each costs far more than a small statement does. Here all four happen in one trip, which
also means that a cancelled caller leaves no statement open behind it.
"""

import sqlite3
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import aiosqlite

FETCH_SIZE = 64
T = TypeVar("T")


class OneTripCursor(aiosqlite.Cursor):
    """A cursor whose rows have all been fetched, and which is closed, when a statement returns."""

    def __init__(self, connection: "OneTripConnection") -> None:
        self._conn = connection
        self._owner = connection
        self._rows: list[Any] = []

    async def execute(self, sql: str, parameters: Iterable[Any] | None = None) -> "OneTripCursor":
        """Run a statement and fetch what it returns."""
        return await self._take_along(partial(self._owner.raw.execute, sql, tuple(parameters or ())))

    async def executemany(self, sql: str, parameters: Iterable[Iterable[Any]]) -> "OneTripCursor":
        """Run a statement once for each set of parameters."""
        return await self._take_along(partial(self._owner.raw.executemany, sql, [tuple(each) for each in parameters]))

    async def fetchall(self) -> list[Any]:
        """The rows; a second call has none."""
        rows, self._rows = self._rows, []
        return rows

    async def close(self) -> None:
        """Nothing is left to close."""

    async def _take_along(self, run: "partial[sqlite3.Cursor]") -> "OneTripCursor":
        def trip() -> tuple[sqlite3.Cursor, list[Any]]:
            cursor = run()
            try:
                return cursor, cursor.fetchall() if cursor.description else []
            finally:
                cursor.close()

        self._cursor, self._rows = await self._execute(trip)  # type: ignore[no-untyped-call]
        return self


class OneTripConnection(aiosqlite.Connection):
    """A connection that hands out such cursors."""

    @property
    def raw(self) -> sqlite3.Connection:
        """The connection itself, to be used on its own thread only. Raises `ValueError` when closed."""
        return self._conn

    async def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Do something on the connection's own thread, in one trip."""
        done: T = await self._execute(work, self._conn)  # type: ignore[no-untyped-call]
        return done

    def cursor(self) -> OneTripCursor:  # type: ignore[override]  # opened with the statement, so nothing is awaited
        """A cursor for one statement after another."""
        return OneTripCursor(self)


async def connect(path: Path) -> OneTripConnection:
    """Open a database file. Raises what `sqlite3.connect` raises."""
    connection = OneTripConnection(partial(sqlite3.connect, path), FETCH_SIZE)
    connection._thread.daemon = True
    return await connection  # type: ignore[return-value]  # aiosqlite names its own class here
