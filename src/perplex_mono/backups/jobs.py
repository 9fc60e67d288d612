"""The `backup` operation: a moment of the library into one file, which gets its name after it was read back whole."""

import asyncio
from pathlib import Path

from perplex_mono.backups.archive import archive_bytes, verify_archive
from perplex_mono.backups.contents import gather, model_files, write_archive
from perplex_mono.backups.repository import BackupRepository
from perplex_mono.backups.retention import remove_expired
from perplex_mono.backups.snapshot import held_originals, seal_copy
from perplex_mono.backups.steps import BlockingSteps
from perplex_mono.errors import StorageFull
from perplex_mono.operations.ledger import Claim, Ledger
from perplex_mono.operations.progress import ProgressMeter
from perplex_mono.storage.blobs import BlobStore
from perplex_mono.storage.data_directory import DataDirectory
from perplex_mono.storage.database import Database
from perplex_mono.storage.disk_full import DiskReserve
from perplex_mono.storage.snapshots import copy_database
from perplex_mono.storage.written_files import publish

COPY_SUFFIX = ".db"
UNIT = "bytes"


class BackupHandler:
    """Runs `backup` operations. An interrupted one leaves nothing but a partial file, and is begun anew."""

    def __init__(
        self,
        directory: DataDirectory,
        database: Database,
        blobs: BlobStore,
        ledger: Ledger,
        repository: BackupRepository,
        reserve: DiskReserve,
        *,
        keep: int,
    ) -> None:
        self._directory = directory
        self._database = database
        self._blobs = blobs
        self._ledger = ledger
        self._repository = repository
        self._reserve = reserve
        self._keep = keep

    async def run(self, claim: Claim) -> None:
        """Make the backup, unless a process that was killed had just finished it. A full disk ends it as `failed`."""
        backup_id = str(claim.params["backup_id"])
        try:
            await asyncio.to_thread(self._repository.sweep)
            if not self._repository.path(backup_id).is_file():
                await self._make(claim, backup_id)
        except StorageFull as full:
            await self._ledger.fail(claim, full, permanent=True)
            return
        made = await asyncio.to_thread(self._repository.get, backup_id)
        if made.is_scheduled:
            await remove_expired(self._database, self._repository, self._keep)
        await self._ledger.complete(claim, summary={"backup_id": backup_id, "size_bytes": made.size_bytes})

    async def require_space(self) -> int:
        """Bytes that a backup takes now, about. Raises `StorageFull` when there is no room for them."""
        expected = await asyncio.to_thread(self._expected_bytes)
        await asyncio.to_thread(self._repository.open)
        await asyncio.to_thread(self._reserve.require, self._repository.folder, expected)
        return expected

    async def _make(self, claim: Claim, backup_id: str) -> None:
        partial = self._repository.partial_path(backup_id)
        copy = partial.with_name(partial.name + COPY_SUFFIX)
        expected = await self.require_space()
        meter = ProgressMeter(
            lambda progress: self._ledger.record_progress(claim, progress), unit=UNIT, total=2 * expected
        )
        try:
            async with held_originals(self._database, self._blobs), meter.recording():
                with BlockingSteps(meter.advance) as steps:
                    await self._write(claim, steps, meter, partial, copy)
            await asyncio.to_thread(publish, partial, self._repository.path(backup_id))
        finally:
            await asyncio.to_thread(_remove, partial, copy)

    async def _write(self, claim: Claim, steps: BlockingSteps, meter: ProgressMeter, partial: Path, copy: Path) -> None:
        async with steps.watching(copy, "copying the database"):
            await steps.run(
                "copying the database", lambda _: copy_database(self._database.path, copy, steps.is_stopped)
            )
        snapshot = await seal_copy(copy, keeps_secrets=bool(claim.params.get("include_secrets")))
        contents = await asyncio.to_thread(gather, claim, snapshot, copy, self._directory, self._blobs)
        meter.expect(meter.done + 2 * contents.manifest.size_bytes - meter.total)
        await asyncio.to_thread(self._reserve.require, self._repository.folder, archive_bytes(contents.manifest))
        await steps.run("writing the file", lambda on_bytes: write_archive(partial, contents, on_bytes))
        await steps.run("reading it back", lambda on_bytes: verify_archive(partial, on_bytes))

    def _expected_bytes(self) -> int:
        """The database twice, for its copy and in the file; every original and model."""
        models = sum(path.stat().st_size for path in model_files(self._directory.models))
        return 2 * self._directory.database.stat().st_size + self._blobs.stored_bytes() + models


def _remove(partial: Path, copy: Path) -> None:
    """Gigabytes, which take their time to go."""
    partial.unlink(missing_ok=True)
    for leftover in copy.parent.glob(f"{copy.name}*"):
        leftover.unlink(missing_ok=True)
