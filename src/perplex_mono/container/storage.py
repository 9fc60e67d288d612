"""Opens where things are kept: the locked data directory, the database, the original files, the vector tables."""

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass

from perplex_mono.container.metrics import Instruments
from perplex_mono.doctor.index import open_mended
from perplex_mono.settings import Settings
from perplex_mono.storage.blobs import BlobStore
from perplex_mono.storage.data_directory import DataDirectory
from perplex_mono.storage.database import Database
from perplex_mono.storage.disk_full import DiskReserve
from perplex_mono.storage.shrinking import make_shrinkable
from perplex_mono.storage.starting import Starting
from perplex_mono.storage.vectors import VectorStore
from perplex_mono.telemetry.process_metrics import ResourceMetrics


@dataclass(frozen=True)
class Storage:
    """Where things are kept."""

    directory: DataDirectory
    database: Database
    blobs: BlobStore
    vectors: Starting[VectorStore]


async def open_database(
    settings: Settings, stack: AsyncExitStack, instruments: Instruments
) -> tuple[DataDirectory, Database]:
    """Lock the data directory and migrate its database, where changed settings are."""
    directory = DataDirectory(settings.data_directory).open()
    stack.callback(directory.close)
    limits = settings.limits
    reserve = DiskReserve(limits.disk_reserve_bytes, limits.disk_reserve_fraction)
    await asyncio.to_thread(make_shrinkable, directory.database, reserve)
    database = Database(directory.database)
    database.measure_with(instruments.database)
    stack.push_async_callback(database.close)
    await database.migrate()
    return directory, database


async def open_storage(
    settings: Settings, stack: AsyncExitStack, instruments: Instruments, directory: DataDirectory, database: Database
) -> Storage:
    """Sweep the blobs; the vector tables open behind, when started."""
    limits = settings.limits
    blobs = BlobStore(
        directory.blobs,
        reserve_bytes=limits.disk_reserve_bytes,
        reserve_fraction=limits.disk_reserve_fraction,
    )
    await asyncio.to_thread(blobs.open)
    language = settings.search.language
    ResourceMetrics(directory.path, blobs.reserve, instruments.exposition.registry)
    vectors = Starting(
        "vectors",
        lambda tell: open_mended(
            directory.vectors, database, fts_language=language, metrics=instruments.vectors, tell=tell
        ),
    )

    async def close_vectors() -> None:
        opened = await vectors.stop()
        if opened is not None:
            await opened.close()

    stack.push_async_callback(close_vectors)
    return Storage(directory, database, blobs, vectors)
