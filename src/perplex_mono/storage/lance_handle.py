"""An opened Lance table, opened anew now and then: its caches keep files open that no index consists of any more."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Self

import lancedb
from lancedb import AsyncConnection, AsyncTable

MAX_REPLACEMENTS = 50
"""Times that indexes may have been replaced before the table is opened anew. Each keeps two files open."""


@asynccontextmanager
async def connected(directory: Path) -> AsyncIterator[AsyncConnection]:
    """A connection to the folder of tables for a moment."""
    connection = await lancedb.connect_async(directory)
    try:
        yield connection
    finally:
        connection.close()  # type: ignore[no-untyped-call] # lancedb leaves it bare


class TableHandle:
    """One table over a connection of its own, for the caches belong to the connection.

    The handle that commits sees its commits at once. Looking for those of other processes would cost each read 1.5 ms
    and is left out (`read_consistency_interval` None): one process owns the folder.
    """

    def __init__(self, directory: Path, connection: AsyncConnection, table: AsyncTable) -> None:
        self._directory = directory
        self._connection = connection
        self._replacements = 0
        self.table = table

    @classmethod
    async def open(cls, directory: Path, name: str) -> Self:
        """Open an existing table; raises what Lance raises when it cannot."""
        connection = await lancedb.connect_async(directory)
        return cls(directory, connection, await connection.open_table(name))

    async def note_replaced_indexes(self) -> None:
        """Count, and open the table anew when it is time: 20 ms. Call it while nobody writes.

        Whoever reads at this moment goes on with the table that it has, which is closed when the last one is done.
        """
        self._replacements += 1
        if self._replacements < MAX_REPLACEMENTS:
            return
        self._replacements = 0
        connection = await lancedb.connect_async(self._directory)
        self.table = await connection.open_table(self.table.name)
        self._connection = connection

    def close(self) -> None:
        """Drop the table and its caches."""
        self.table.close()  # type: ignore[no-untyped-call] # lancedb leaves it bare
        self._connection.close()  # type: ignore[no-untyped-call]
