"""Backups that were made by themselves go when there are enough newer ones."""

import asyncio
from contextlib import suppress

from loguru import logger
from sqlmodel import col, select

from perplex_mono.backups.repository import BackupRepository
from perplex_mono.errors import NotFound
from perplex_mono.operations.models import Operation
from perplex_mono.storage.database import Database


async def remove_expired(database: Database, repository: BackupRepository, keep: int) -> None:
    """Of the scheduled backups that this library made, leave the newest `keep` (at least one).

    What a person asked for stays, and so does what another library put into the same folder.
    """
    scheduled = [found for found in await asyncio.to_thread(repository.list_backups) if found.is_scheduled]
    query = select(Operation.id).where(col(Operation.id).in_([found.operation_id for found in scheduled]))
    async with database.read() as session:
        own = set((await session.exec(query)).all())
    for found in [found for found in scheduled if found.operation_id in own][max(1, keep) :]:
        with suppress(NotFound):  # somebody was quicker
            await asyncio.to_thread(repository.delete, found.id)
            logger.info("backup.expired", backup_id=found.id)
