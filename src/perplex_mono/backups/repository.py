"""The folder of backups: a file that has its name is whole, whatever is still being made has another."""

import re
from datetime import datetime
from pathlib import Path
from typing import Final

from loguru import logger

from perplex_mono.backups.archive import read_heading
from perplex_mono.backups.schemas import BackupView, backup_view
from perplex_mono.errors import NotFound, PerplexError, Unavailable
from perplex_mono.storage.identity import new_id
from perplex_mono.storage.lance_files import fsync_folder

PREFIX: Final = "perplex-"
SUFFIX: Final = ".tar"
PARTIAL: Final = ".partial"
_ID = re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{8}")


def new_backup_id(now: datetime) -> str:
    """An id that says when, as `20261122T093000Z-5f0e8b7c`."""
    return f"{now:%Y%m%dT%H%M%SZ}-{new_id()[-8:]}"


class BackupRepository:
    """The files of one folder. Everything here blocks: call it on a thread."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def open(self) -> None:
        """Make the folder. Raises `Unavailable` where there can be none."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise Unavailable("The folder of backups (backups.directory)", error.strerror or str(error)) from error

    def sweep(self) -> None:
        """Remove what a process that was killed left half made; to be called while no backup is being made."""
        for leftover in self.folder.glob(f"{PREFIX}*{PARTIAL}*"):
            logger.info("backup.leftover_removed", file=leftover.name)
            leftover.unlink(missing_ok=True)

    def path(self, backup_id: str) -> Path:
        """The file of a backup, there or not. Raises `NotFound` for what cannot be an id."""
        if not _ID.fullmatch(backup_id):
            raise NotFound("backup", backup_id)
        return self.folder / f"{PREFIX}{backup_id}{SUFFIX}"

    def partial_path(self, backup_id: str) -> Path:
        """Its file while it is being made; beside it lies the copy of the database."""
        path = self.path(backup_id)
        return path.with_name(path.name + PARTIAL)

    def get(self, backup_id: str) -> BackupView:
        """A backup. Raises `NotFound`."""
        path = self.path(backup_id)
        if not path.is_file():
            raise NotFound("backup", backup_id)
        return backup_view(read_heading(path), path.stat().st_size)

    def list_backups(self) -> list[BackupView]:
        """All of them, newest first; a file that is no backup any more is left out, and told in the log."""
        found: list[BackupView] = []
        for path in self.folder.glob(f"{PREFIX}*{SUFFIX}"):
            try:
                found.append(self.get(path.name.removeprefix(PREFIX).removesuffix(SUFFIX)))
            except (PerplexError, OSError) as error:
                logger.warning("backup.unreadable", file=path.name, reason=str(error))
        return sorted(found, key=lambda backup: backup.created_at, reverse=True)

    def delete(self, backup_id: str) -> None:
        """Remove a backup. Raises `NotFound`."""
        path = self.path(backup_id)
        if not path.is_file():
            raise NotFound("backup", backup_id)
        path.unlink()
        fsync_folder(self.folder)
