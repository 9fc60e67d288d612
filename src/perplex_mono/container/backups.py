"""Builds what makes backups: the handler, the service, and the schedule where one is wanted."""

import asyncio
from dataclasses import dataclass
from pathlib import Path

from perplex_mono.backups.jobs import BackupHandler
from perplex_mono.backups.repository import BackupRepository
from perplex_mono.backups.schedule import BackupSchedule
from perplex_mono.backups.service import BackupService
from perplex_mono.container.background import Background
from perplex_mono.container.storage import Storage
from perplex_mono.operations.ledger import Ledger
from perplex_mono.settings import Settings


@dataclass(frozen=True)
class Backups:
    """Making backups, and asking for them."""

    handler: BackupHandler
    service: BackupService


async def open_backups(settings: Settings, storage: Storage, ledger: Ledger, background: Background) -> Backups:
    """Build both, and remove what a killed process left half made; begin the schedule if the settings have one."""
    repository = BackupRepository(backups_folder(settings))
    await asyncio.to_thread(repository.sweep)
    handler = BackupHandler(
        storage.directory,
        storage.database,
        storage.blobs,
        ledger,
        repository,
        storage.blobs.disk_reserve,
        keep=settings.backups.keep,
    )
    service = BackupService(storage.database, ledger, repository, handler)
    if settings.backups.every_hours:
        schedule = BackupSchedule(storage.database, service, every_hours=settings.backups.every_hours)
        schedule.supervisor.start()
        background.close_with(schedule.supervisor, is_shown=True)
    return Backups(handler, service)


def backups_folder(settings: Settings) -> Path:
    """Where the server keeps them."""
    if settings.backups.directory:
        return Path(settings.backups.directory).expanduser().resolve()
    return settings.data_directory / "backups"
