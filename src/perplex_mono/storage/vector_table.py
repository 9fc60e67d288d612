"""One LanceDB table and everything that may be done to it: whole documents in and out, searches, checks, upkeep.

All writes pass one lock per table (concurrent merges double rows, optimising beside a writer loses or destroys),
run to their end even when the caller is cancelled (Lance cannot stop a commit), and return only after fsync (Lance
itself never calls it).
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from lancedb import AsyncTable
from loguru import logger
from numpy.typing import NDArray

from perplex_mono.errors import DataCorrupt, InvalidInput
from perplex_mono.storage import vector_indexes as indexes
from perplex_mono.storage.lance_files import SyncedFolder, folder_bytes, truncated_files
from perplex_mono.storage.lance_handle import TableHandle, connected
from perplex_mono.storage.vector_purge import oldest_deletion_seconds, rewrite_rows
from perplex_mono.storage.vector_rows import RowStream, table_schema
from perplex_mono.storage.vector_search import chunks_with_words, first_line, holds_any, nearest_chunks, of_documents
from perplex_mono.storage.vector_types import DocumentRows, Maintenance, TableHealth, TableVerification, VectorHit

T = TypeVar("T")
SCAN_ROWS = 1_024


class VectorTable:
    """A cached handle on one table; made by `open_table` and `create_table`, owned by `VectorStore`."""

    def __init__(self, handle: TableHandle, folder: Path, dimension: int, keep_versions: timedelta) -> None:
        self._handle = handle
        self._folder = SyncedFolder(folder)
        self._path = folder
        self._keep_versions = keep_versions
        self._writer = asyncio.Lock()
        self._writes: set[asyncio.Task[Any]] = set()
        self._scans = 0
        self._vector_index_rows: int | None = None
        self.dimension = dimension

    @property
    def _table(self) -> AsyncTable:
        return self._handle.table

    async def commit_documents(self, documents: Sequence[DocumentRows]) -> int:
        """Put whole documents in, old versions out, in one atomic commit; return the number of rows written."""
        if not documents:
            return 0
        names = [document.document_id for document in documents]
        if len(set(names)) != len(names):
            raise InvalidInput("A commit names a document twice.")
        return await self._write(lambda: self._commit(documents, names))

    async def delete_documents(self, document_ids: Collection[str]) -> None:
        """Remove every chunk of these documents; ids that are not there are no error."""
        if document_ids:
            await self._write(lambda: self._delete(document_ids))

    async def search_dense(
        self, vector: NDArray[np.float32], limit: int, document_ids: Collection[str] | None, exact: bool
    ) -> list[VectorHit]:
        """Nearest chunks by cosine similarity, best first; `exact` reads every row instead of the vector index."""
        if vector.shape != (self.dimension,) or not np.isfinite(vector).all():
            raise InvalidInput(f"The query vector must be {self.dimension} finite numbers.")
        indexed_rows = None if exact else self._vector_index_rows
        return await nearest_chunks(self._table, vector, limit, document_ids, indexed_rows)

    async def search_text(self, query_text: str, limit: int, document_ids: Collection[str] | None) -> list[VectorHit]:
        """Best chunks by BM25 for any word of the query, best first; the text is words only, never query syntax."""
        return await chunks_with_words(self._table, query_text, limit, document_ids)

    async def scan(self) -> AsyncIterator[list[tuple[str, str]]]:
        """Read every column of every row, in batches; yield (id, document_id); DataCorrupt if a file is unreadable."""
        self._scans += 1
        try:
            stream = await self._table.query().to_batches(max_batch_length=SCAN_ROWS)
            async for batch in stream:
                yield list(zip(batch.column("id").to_pylist(), batch.column("document_id").to_pylist(), strict=True))
        except (RuntimeError, OSError, ValueError) as error:
            raise DataCorrupt(f"Vector table {self._table.name} cannot be read: {first_line(error)}") from error
        finally:
            self._scans -= 1

    async def verify(self) -> TableVerification:
        """Scan the whole table and say what is stored, what is stored twice and whether it can all be read."""
        by_document: dict[str, list[str]] = {}
        seen: set[str] = set()
        duplicates: list[str] = []
        try:
            async for rows in self.scan():
                for key, document_id in rows:
                    by_document.setdefault(document_id, []).append(key)
                    if key in seen:
                        duplicates.append(key)
                    seen.add(key)
        except DataCorrupt as error:
            return TableVerification(by_document, duplicates, str(error))
        return TableVerification(by_document, duplicates)

    async def health(self) -> TableHealth:
        """Count rows and look at the ends of the files; does not read the data."""
        try:
            rows = await self._table.count_rows()
            damaged = await asyncio.to_thread(truncated_files, self._path)
        except (RuntimeError, OSError, ValueError) as error:
            return TableHealth(self._table.name, False, 0, first_line(error))
        reason = f"{len(damaged)} truncated files, first {damaged[0]}" if damaged else ""
        return TableHealth(self._table.name, not damaged, rows, reason)

    async def maintain(self, idle: bool) -> Maintenance:
        """Index new rows, merge small files, build the vector index, forget old versions: each when it is due."""
        return await self._write(lambda: self._maintain(idle))

    async def deleted_seconds(self) -> float | None:
        """Age of the oldest mark of deleted rows, of any version that is still kept; None when there is none."""
        return await asyncio.to_thread(oldest_deletion_seconds, self._path)

    async def purge_deleted(self) -> None:
        """Forget old versions; if deleted rows still lie between others after that, write all rows anew."""
        await self._write(self._purge_deleted)

    async def complete_indexes(self, language: str) -> list[str]:
        """After opening: learn how far the vector index reaches, make the others if missing; the names of those made.

        A table whose making was interrupted lacks them, and without its text index no word is ever found.
        """
        statistics = await self._table.index_stats(indexes.VECTOR_INDEX)
        self._vector_index_rows = statistics.num_indexed_rows if statistics else None
        made = await indexes.make_missing(self._table, language)
        if made:
            await asyncio.to_thread(self._folder.sync)
        return made

    async def close(self) -> None:
        """Let running writes end, then drop the handle."""
        while self._writes:
            await asyncio.wait(self._writes)
        self._handle.close()

    async def _write(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run `work` under the lock, then fsync; a cancelled caller leaves, the write goes on to its end."""
        task = asyncio.create_task(self._locked(work))
        self._writes.add(task)
        task.add_done_callback(self._forget)
        return await asyncio.shield(task)

    async def _locked(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        async with self._writer:
            result = await work()
            await asyncio.to_thread(self._folder.sync)
            return result

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._writes.discard(task)
        if not task.cancelled() and (error := task.exception()):
            logger.debug("vectors.write_failed", table=self._table.name, error=first_line(error))

    async def _commit(self, documents: Sequence[DocumentRows], names: Sequence[str]) -> int:
        rows = RowStream(documents, await self._table.schema())
        fresh = all(document.fresh for document in documents) and not await holds_any(self._table, names)
        try:
            if fresh:
                await self._table.add(rows.reader())
            else:
                merge = self._table.merge_insert("id").when_matched_update_all().when_not_matched_insert_all()
                await merge.when_not_matched_by_source_delete(of_documents(names)).execute(rows.reader())
        except (RuntimeError, OSError, ValueError) as error:
            if rows.error is None:
                raise
            raise rows.error from error
        return rows.rows

    async def _delete(self, document_ids: Collection[str]) -> None:
        if await holds_any(self._table, document_ids):  # a delete that finds nothing would make a version all the same
            await self._table.delete(of_documents(document_ids))

    async def _maintain(self, idle: bool) -> Maintenance:
        started = time.perf_counter()
        statistics: Any = await self._table.stats()  # declared as an object, returned as a dictionary
        rows: int = statistics["num_rows"]
        found = {index.name: index for index in await self._table.list_indices()}
        unindexed = max((index.num_unindexed_rows or 0 for index in found.values()), default=0)
        optimize = indexes.needs_optimizing(unindexed, statistics["fragment_stats"]["num_fragments"], idle=idle)
        segments = found[indexes.VECTOR_INDEX].num_segments or 1 if indexes.VECTOR_INDEX in found else 0
        build = indexes.needs_vector_index(rows, self._vector_index_rows, segments)
        if optimize:
            await self._table.optimize(cleanup_older_than=timedelta(days=7))
        if build:
            await self._build_vector_index(rows)
        if optimize or build:
            # Old versions may go only when the newest one is safe on disk.
            await asyncio.to_thread(self._folder.sync)
            if not self._scans:
                await self._table.optimize(cleanup_older_than=self._keep_versions)
            await self._handle.note_replaced_indexes()
        seconds = time.perf_counter() - started
        return Maintenance(optimize, build, rows, seconds, await asyncio.to_thread(folder_bytes, self._path))

    async def _purge_deleted(self) -> None:
        if not self._scans:
            await self._table.optimize(cleanup_older_than=self._keep_versions)
        if await self.deleted_seconds() is None:
            return
        await rewrite_rows(self._table)
        rows = await self._table.count_rows()
        if self._vector_index_rows is not None and rows:
            await self._build_vector_index(rows)
        await self._table.optimize(cleanup_older_than=timedelta(days=7))

    async def _build_vector_index(self, rows: int) -> None:
        config = indexes.vector_index(rows)
        await self._table.create_index("vector", config=config, name=indexes.VECTOR_INDEX, replace=True)
        self._vector_index_rows = rows


async def open_table(name: str, folder: Path, keep_versions: timedelta) -> VectorTable:
    """Open an existing table; raises what Lance raises when it cannot."""
    handle = await TableHandle.open(folder.parent, name)
    dimension = (await handle.table.schema()).field("vector").type.list_size
    return VectorTable(handle, folder, dimension, keep_versions)


async def create_table(name: str, folder: Path, keep_versions: timedelta, dimension: int, language: str) -> VectorTable:
    """Create a table with empty text and document indexes: rows outside an index are searched all the same.

    When that fails nothing is left, so that it can be tried again.
    """
    async with connected(folder.parent) as connection:
        table = await connection.create_table(name, schema=table_schema(dimension))
        try:
            await indexes.make_missing(table, language)
        except BaseException:
            await connection.drop_table(name)
            raise
        finally:
            table.close()  # type: ignore[no-untyped-call] # lancedb leaves it bare
    return await open_table(name, folder, keep_versions)


async def drop_table(name: str, folder: Path) -> None:
    """Remove a table that can be opened; raises what Lance raises when it cannot."""
    async with connected(folder.parent) as connection:
        await connection.drop_table(name)
