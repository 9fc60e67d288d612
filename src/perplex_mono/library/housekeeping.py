"""Done when nobody waits: old events and put-aside indexes go, and what was deleted leaves the files for good."""

import asyncio
import time
from collections.abc import Callable

from loguru import logger

from perplex_mono.library.indexes import IndexService
from perplex_mono.library.repository import DocumentRepository
from perplex_mono.operations.ledger import Ledger
from perplex_mono.storage.database import Database
from perplex_mono.storage.starting import Starting
from perplex_mono.storage.vectors import VectorStore

ROUND_SECONDS = 300.0
EMBEDDINGS_SECONDS = 6 * 3600.0
# Deleted text leaves the vector files in the next idle moment, and after so long also under load.
MAX_DELETED_SECONDS = 12 * 3600.0


class Housekeeper:
    """Keeps the promise that deleted means gone within a day, and the data directory from growing without need."""

    def __init__(
        self,
        database: Database,
        ledger: Ledger,
        indexes: IndexService,
        vectors: Starting[VectorStore],
        *,
        is_idle: Callable[[], bool],
        event_days: int,
        retired_days: float,
    ) -> None:
        self._database = database
        self._ledger = ledger
        self._indexes = indexes
        self._vectors = vectors
        self._is_idle = is_idle
        self._event_days = event_days
        self._retired_days = retired_days
        self._embeddings_purged_at = float("-inf")

    async def run(self) -> None:
        """One round after another, until cancelled."""
        while True:
            await self.round()
            await asyncio.sleep(ROUND_SECONDS)

    async def round(self) -> None:
        """Do what is due."""
        await self._ledger.prune_events(self._event_days)
        await self._indexes.drop_expired(self._retired_days)
        await self._purge_embeddings()
        vectors = await self._vectors.wait()
        for table in vectors.table_names():
            try:
                await self._purge_table(vectors, table)
            except Exception:
                logger.exception("housekeeping.table_failed", table=table)

    async def _purge_embeddings(self) -> None:
        """Embeddings whose last chunk went while others were being made, and so had to wait."""
        if not self._is_idle() or time.monotonic() - self._embeddings_purged_at < EMBEDDINGS_SECONDS:
            return
        async with self._database.write() as session:
            await DocumentRepository(session).purge_embeddings()
        self._embeddings_purged_at = time.monotonic()

    async def _purge_table(self, vectors: VectorStore, table: str) -> None:
        age_seconds = await vectors.deleted_seconds(table)
        if age_seconds is not None and (self._is_idle() or age_seconds > MAX_DELETED_SECONDS):
            await vectors.purge_deleted(table)
