"""Backups as they are asked for, listed, fetched and removed."""

import asyncio
from pathlib import Path

from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from perplex_mono.accounts.audit import record
from perplex_mono.backups.jobs import UNIT, BackupHandler
from perplex_mono.backups.repository import BackupRepository, new_backup_id
from perplex_mono.backups.schemas import BackupAccepted, BackupList, BackupView
from perplex_mono.backups.snapshot import KIND
from perplex_mono.errors import Conflict
from perplex_mono.operations.ledger import Ledger
from perplex_mono.operations.models import FINAL_STATES, Operation
from perplex_mono.storage.database import Database
from perplex_mono.storage.identity import utc_now
from perplex_mono.web.callers import LOCAL_USER, Caller


class BackupService:
    """Backups of the whole library, whoever its parts belong to: for those who may have all of it."""

    def __init__(
        self, database: Database, ledger: Ledger, repository: BackupRepository, handler: BackupHandler
    ) -> None:
        self._database = database
        self._ledger = ledger
        self._repository = repository
        self._handler = handler

    async def start(
        self, caller: Caller | None = None, *, include_secrets: bool = False, address: str = ""
    ) -> BackupAccepted:
        """Queue a backup, for the schedule where nobody calls.

        Raises `Conflict` while one is being made, `StorageFull` when there is no room for it.
        """
        async with self._database.read() as session:
            await _require_none(session)  # before everything is counted that would go into it
        await self._handler.require_space()
        backup_id = new_backup_id(utc_now())
        async with self._database.write() as session:
            await _require_none(session)
            operation = await self._ledger.enqueue(
                session,
                owner_id=LOCAL_USER if caller is None else caller.user_id,
                kind=KIND,
                collection_id=None,
                params={"backup_id": backup_id, "include_secrets": include_secrets, "is_scheduled": caller is None},
                total=0,
                unit=UNIT,
            )
            details = {"include_secrets": include_secrets}
            record(session, "backup_started", actor=caller, target=backup_id, address=address, details=details)
        return BackupAccepted(operation.id, backup_id)

    async def list_backups(self) -> BackupList:
        """All of them, newest first."""
        return BackupList(await asyncio.to_thread(self._repository.list_backups))

    async def get(self, backup_id: str) -> BackupView:
        """One of them. Raises `NotFound`."""
        return await asyncio.to_thread(self._repository.get, backup_id)

    async def file(self, backup_id: str, caller: Caller, *, address: str = "") -> Path:
        """Its file, for somebody who fetches it. Raises `NotFound`."""
        backup = await self.get(backup_id)
        async with self._database.write(is_content=False) as session:
            details = {"include_secrets": backup.includes_secrets}
            record(session, "backup_fetched", actor=caller, target=backup_id, address=address, details=details)
        return self._repository.path(backup_id)

    async def delete(self, backup_id: str, caller: Caller, *, address: str = "") -> None:
        """Remove it. Raises `NotFound`."""
        await asyncio.to_thread(self._repository.delete, backup_id)
        async with self._database.write(is_content=False) as session:
            record(session, "backup_deleted", actor=caller, target=backup_id, address=address)


async def _require_none(session: AsyncSession) -> None:
    unfinished = select(Operation.id).where(Operation.kind == KIND, col(Operation.state).not_in(FINAL_STATES))
    if (found := (await session.exec(unfinished)).first()) is not None:
        raise Conflict(f"A backup is being made already: operation {found}. Wait for it, or cancel it.")
