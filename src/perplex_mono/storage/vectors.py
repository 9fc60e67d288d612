"""The vector store: one LanceDB table per index, opened once per process.

Importing this module is cheap; LanceDB itself takes seconds to import, so `VectorStore.open` does that in a thread
while the server already answers.
"""

import asyncio
import importlib
import re
import shutil
from collections.abc import AsyncIterator, Collection, Sequence
from datetime import timedelta
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Self

import numpy as np
from loguru import logger
from numpy.typing import NDArray

from perplex_mono.errors import Conflict, InvalidInput, NotFound, Unavailable
from perplex_mono.storage.lance_files import (
    TABLE_SUFFIX,
    fsync_folder,
    quarantine_broken_manifests,
)
from perplex_mono.storage.metrics import VectorMetrics
from perplex_mono.storage.vector_types import (
    ChunkBatch,
    DocumentRows,
    Maintenance,
    TableHealth,
    TableVerification,
    VectorHit,
)

if TYPE_CHECKING:
    from perplex_mono.storage.vector_table import VectorTable

__all__ = [
    "ChunkBatch",
    "DocumentRows",
    "Maintenance",
    "TableHealth",
    "TableVerification",
    "VectorHit",
    "VectorStore",
]

TABLE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,99}")
QUARANTINE = "quarantine"


class VectorStore:
    """All vector tables of one data directory. Safe for concurrent use from one event loop; one process per directory.

    `repairs` says what opening moved aside or made anew; a table named there may lack its last commits: `verify` it.
    """

    def __init__(
        self,
        module: ModuleType,
        directory: Path,
        language: str,
        keep_versions: timedelta,
        metrics: VectorMetrics,
    ) -> None:
        self._module = module
        self._directory = directory
        self._language = language
        self._keep_versions = keep_versions
        self._measured = metrics.measured
        self._tables: dict[str, VectorTable] = {}
        self._broken: dict[str, str] = {}
        self._catalog = asyncio.Lock()
        self.repairs: list[str] = []

    @classmethod
    async def open(
        cls,
        directory: Path,
        *,
        fts_language: str = "English",
        keep_versions_seconds: float = 60.0,
        metrics: VectorMetrics | None = None,
    ) -> Self:
        """Open every table, mending what a power loss left; a table that stays broken is reported, not raised.

        `fts_language` stems the full-text indexes made from now on ("none": words as they are).
        Versions older than `keep_versions_seconds` go with the next maintenance, unless a scan is reading.
        """
        module = await asyncio.to_thread(importlib.import_module, "perplex_mono.storage.vector_table")
        await asyncio.to_thread(directory.mkdir, parents=True, exist_ok=True)
        keep_versions = timedelta(seconds=keep_versions_seconds)
        store = cls(module, directory, fts_language, keep_versions, metrics or VectorMetrics())
        for name in await asyncio.to_thread(_tables_on_disk, directory):
            await store._open_table(name)
        logger.info("vectors.opened", tables=len(store._tables), broken=len(store._broken), repairs=store.repairs)
        return store

    async def close(self) -> None:
        """Wait for running writes, then release everything."""
        for table in self._tables.values():
            await table.close()
        self._tables.clear()

    async def create_table(self, name: str, dimension: int) -> None:
        """Make the table exist; Conflict if it exists with another dimension, Unavailable if it is broken."""
        if not TABLE_NAME.fullmatch(name) or name == QUARANTINE:
            raise InvalidInput(f"'{name}' cannot be the name of a vector table.")
        if dimension < 1:
            raise InvalidInput("Vectors need at least one dimension.")
        async with self._catalog:
            if name in self._broken or name in self._tables:
                if self._table(name).dimension != dimension:
                    raise Conflict(f"Vector table {name} has dimension {self._table(name).dimension}, not {dimension}.")
                return
            with self._measured("create_table"):
                self._tables[name] = await self._module.create_table(
                    name, self._folder(name), self._keep_versions, dimension, self._language
                )
            await asyncio.to_thread(fsync_folder, self._directory)

    async def drop_table(self, name: str) -> None:
        """Remove a table and its files, broken or not; no error if there is none."""
        with self._measured("drop_table"):
            await self._drop_table(name)

    async def _drop_table(self, name: str) -> None:
        async with self._catalog:
            if table := self._tables.pop(name, None):
                await table.close()
                await self._module.drop_table(name, self._folder(name))
            self._broken.pop(name, None)
            await asyncio.to_thread(shutil.rmtree, self._folder(name), ignore_errors=True)
            await asyncio.to_thread(fsync_folder, self._directory)

    def table_names(self) -> list[str]:
        """Names of all tables, those that cannot be opened included."""
        return sorted([*self._tables, *self._broken])

    async def commit_documents(self, table: str, documents: Sequence[DocumentRows]) -> int:
        """Put documents in as they now are, replacing older versions, in one atomic commit; return the rows written.

        A reader sees each document in its old whole version or its new one. When this returns, the rows are on disk.
        A cancelled call goes on to its end, so its outcome is unknown: repeat it, as after a crash, without harm.
        Raises InvalidInput for rows that do not fit, NotFound and Unavailable for the table.
        """
        with self._measured("commit_documents"):
            return await self._table(table).commit_documents(documents)

    async def delete_documents(self, table: str, document_ids: Collection[str]) -> None:
        """Remove all chunks of these documents; once it returns no search finds them, also after a power loss."""
        with self._measured("delete_documents"):
            await self._table(table).delete_documents(document_ids)

    async def search_dense(
        self,
        table: str,
        vector: NDArray[np.float32],
        limit: int,
        document_ids: Collection[str] | None = None,
        exact: bool = False,
    ) -> list[VectorHit]:
        """The `limit` chunks nearest by cosine similarity, best first, of these documents only if given.

        `exact` compares with every row; otherwise recall@10 is 0.98 or better where a vector index exists.
        """
        with self._measured("search_dense"):
            return await self._table(table).search_dense(vector, limit, document_ids, exact)

    async def search_text(
        self, table: str, query: str, limit: int, document_ids: Collection[str] | None = None
    ) -> list[VectorHit]:
        """The `limit` best chunks by BM25, best first. `query` is plain words: nothing in it is syntax."""
        with self._measured("search_text"):
            return await self._table(table).search_text(query, limit, document_ids)

    async def maintain(self, table: str, *, idle: bool = True) -> Maintenance:
        """Do the upkeep that is due, while searches go on and writers wait.

        Call it when writing pauses, and with `idle=False` after every commit or every few: then it acts only when more
        than 500 rows are outside the full-text index or files have scattered, and otherwise costs about a millisecond.
        """
        with self._measured("maintain"):
            done = await self._table(table).maintain(idle)
        if done.optimized or done.vector_index_built:
            logger.info("vectors.maintained", table=table, rows=done.rows, seconds=round(done.seconds, 3))
        return done

    async def deleted_seconds(self, table: str) -> float | None:
        """For how long deleted or replaced rows have been lying in the table's files; None when there are none."""
        return await self._table(table).deleted_seconds()

    async def purge_deleted(self, table: str) -> None:
        """Write the table anew without deleted rows; their bytes go with its old versions, at the next purge or upkeep.

        Searches go on meanwhile, writers wait. Costs about as much as building the table.
        """
        with self._measured("purge_deleted"):
            await self._table(table).purge_deleted()

    async def verify(self, table: str) -> TableVerification:
        """Read every row: chunk ids by document, ids stored twice, and the error that stopped the reading, if any."""
        return await self._table(table).verify()

    def scan(self, table: str) -> AsyncIterator[list[tuple[str, str]]]:
        """Batches of (chunk id, document id) of all rows, reading every column; DataCorrupt if a file is unreadable."""
        return self._table(table).scan()

    async def health(self) -> list[TableHealth]:
        """Whether each table opens, counts and has whole files; milliseconds, reads no data."""
        checked = [await table.health() for table in list(self._tables.values())]
        broken = [TableHealth(name, False, 0, reason) for name, reason in self._broken.items()]
        return sorted([*checked, *broken], key=lambda health: health.name)

    async def _open_table(self, name: str) -> None:
        folder = self._folder(name)
        try:
            moved = await asyncio.to_thread(quarantine_broken_manifests, folder, self._directory / QUARANTINE)
            self.repairs += [
                f"Table {name}: moved the broken manifest {manifest} to {QUARANTINE}" for manifest in moved
            ]
            table = await self._module.open_table(name, folder, self._keep_versions)
            made = await table.complete_indexes(self._language)
            self.repairs += [f"Table {name}: made the missing index {index} over its rows" for index in made]
            self._tables[name] = table
        except (RuntimeError, OSError, ValueError, KeyError) as error:
            self._broken[name] = str(error).partition("\n")[0][:300]
            logger.error("vectors.table_broken", table=name, reason=self._broken[name])

    def _table(self, name: str) -> "VectorTable":
        if name in self._broken:
            raise Unavailable("vectors", f"table {name} cannot be opened: {self._broken[name]}")
        if name not in self._tables:
            raise NotFound("vector table", name)
        return self._tables[name]

    def _folder(self, name: str) -> Path:
        return self._directory / f"{name}{TABLE_SUFFIX}"


def _tables_on_disk(directory: Path) -> list[str]:
    return sorted(path.stem for path in directory.glob(f"*{TABLE_SUFFIX}") if path.is_dir())
