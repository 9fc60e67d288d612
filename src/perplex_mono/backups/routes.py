"""Backups over HTTP."""

from litestar import Controller, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody
from litestar.response import File

from perplex_mono.backups.schemas import BackupAccepted, BackupList, BackupView, NewBackup
from perplex_mono.backups.service import BackupService
from perplex_mono.web.callers import ADMIN, Caller, Identity


class BackupController(Controller):
    """The whole library in one file. Restoring one is done by the command line, with the server stopped."""

    path = "/api/v1/backups"
    tags = ("backups",)
    opt = ADMIN

    @post(status_code=202, summary="Make a backup of the whole library")
    async def create_backup(
        self,
        data: JSONBody[NewBackup],
        backups: NamedDependency[BackupService],
        caller: NamedDependency[Caller],
        identity: NamedDependency[Identity],
    ) -> BackupAccepted:
        """The operation that makes it. The backup is listed once it was read back to its last byte."""
        return await backups.start(caller, include_secrets=data.include_secrets, address=identity.address)

    @get(summary="List the backups, newest first")
    async def list_backups(self, backups: NamedDependency[BackupService], owner_id: NamedDependency[str]) -> BackupList:
        """All backups in the folder of the setting `backups.directory`."""
        return await backups.list_backups()

    @get("/{backup_id:str}", summary="Get a backup")
    async def get_backup(
        self, backup_id: FromPath[str], backups: NamedDependency[BackupService], owner_id: NamedDependency[str]
    ) -> BackupView:
        """What is in it, and how large it is."""
        return await backups.get(backup_id)

    @get("/{backup_id:str}/file", summary="Download a backup")
    async def download_backup(
        self,
        backup_id: FromPath[str],
        backups: NamedDependency[BackupService],
        caller: NamedDependency[Caller],
        identity: NamedDependency[Identity],
    ) -> File:
        """The file, for `perplex-mono restore`."""
        path = await backups.file(backup_id, caller, address=identity.address)
        return File(
            path=path,
            filename=path.name,
            media_type="application/x-tar",
            headers={"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"},
        )

    @delete("/{backup_id:str}", status_code=204, summary="Delete a backup")
    async def delete_backup(
        self,
        backup_id: FromPath[str],
        backups: NamedDependency[BackupService],
        caller: NamedDependency[Caller],
        identity: NamedDependency[Identity],
    ) -> None:
        """It is gone for good."""
        await backups.delete(backup_id, caller, address=identity.address)
