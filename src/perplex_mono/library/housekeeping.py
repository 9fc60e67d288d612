"""Done when nobody waits: old events and put-aside indexes go, and what was deleted leaves the files for good."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta

from loguru import logger

from perplex_mono.library.embedding_purge import purge_embeddings
from perplex_mono.library.indexes import IndexService
from perplex_mono.operations.ledger import Ledger
from perplex_mono.operations.repository import OperationRepository
from perplex_mono.storage.database import Database
from perplex_mono.storage.identity import utc_now
from perplex_mono.storage.starting import Starting
from perplex_mono.storage.vectors import VectorStore

ROUND_SECONDS = 300.0
EMBEDDINGS_SECONDS = 6 * 3600.0
# Deleted text leaves the vector files after so long when nothing runs, and a little later in any case: within a day.
# Writing a table anew costs as much as building it, so what is deleted in half a day goes together.
MIN_DELETED_SECONDS = 12 * 3600.0
MAX_DELETED_SECONDS = 20 * 3600.0
DELETION_RETRY_SECONDS = 1800.0
# 0.8 MB: whoever writes waits for one slice at most, some tens of milliseconds, and comes before the next.
PAGES_A_SLICE = 200
SLICE_PAUSE_SECONDS = 0.05


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
        tidy_accounts: Callable[[], Awaitable[None]],
        event_days: int,
        retired_days: float,
    ) -> None:
        self._database = database
        self._ledger = ledger
        self._indexes = indexes
        self._vectors = vectors
        self._is_idle = is_idle
        self._tidy_accounts = tidy_accounts
        self._event_days = event_days
        self._retired_days = retired_days
        self._embeddings_purged_at = float("-inf")
        self._started_at = self._given_back_at = time.monotonic()

    async def run(self) -> None:
        """One round after another, until cancelled; the first when the start is long over."""
        while True:
            await asyncio.sleep(ROUND_SECONDS)
            await self.round()

    async def round(self) -> None:
        """Do what is due."""
        await self._ledger.prune_events(self._event_days)
        await self._indexes.drop_expired(self._retired_days)
        await self._retry_deletions()
        await self._purge_embeddings()
        try:
            await self._tidy_accounts()
        except Exception:
            logger.exception("housekeeping.accounts_failed")  # deletions were promised, whatever this does
        try:
            await self._give_space_back()
        except Exception:
            logger.exception("housekeeping.database_failed")
        vectors = await self._vectors.wait()
        for table in vectors.table_names():
            try:
                await self._purge_table(vectors, table)
            except Exception:
                logger.exception("housekeeping.table_failed", table=table)

    async def _retry_deletions(self) -> None:
        """A deletion was promised: one that gave up is tried again, however often."""
        async with self._database.write() as session:
            before = utc_now() - timedelta(seconds=DELETION_RETRY_SECONDS)
            for operation in await OperationRepository(session).list_given_up("delete", before):
                await self._ledger.retry(session, operation)

    async def _purge_embeddings(self) -> None:
        """Embeddings whose last chunk went while others were being made, and so had to wait."""
        waited = time.monotonic() - max(self._embeddings_purged_at, self._started_at)
        is_due = time.monotonic() - self._embeddings_purged_at > EMBEDDINGS_SECONDS
        if is_due and await purge_embeddings(self._database, is_forced=waited > MAX_DELETED_SECONDS):
            self._embeddings_purged_at = time.monotonic()

    async def _give_space_back(self) -> None:
        """What is free inside the database file goes back to the disk, and with the log what was deleted through it."""
        is_due = time.monotonic() - self._given_back_at > MAX_DELETED_SECONDS
        while self._is_idle() or is_due:
            if not await self._database.give_back(PAGES_A_SLICE):
                await self._database.fold_log()
                self._given_back_at = time.monotonic()
                return
            await asyncio.sleep(SLICE_PAUSE_SECONDS)

    async def _purge_table(self, vectors: VectorStore, table: str) -> None:
        age_seconds = await vectors.deleted_seconds(table)
        limit_seconds = MIN_DELETED_SECONDS if self._is_idle() else MAX_DELETED_SECONDS
        if age_seconds is not None and age_seconds > limit_seconds:
            await vectors.purge_deleted(table)
