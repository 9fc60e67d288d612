"""A backup in the place of a library: unpacked and proven beside it, then swapped, all or nothing."""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, Final

import msgspec

from perplex_mono.backups.archive import OnBytes, read_manifest, unpack_archive
from perplex_mono.backups.manifest import BLOBS, DATABASE, MODELS, SECRETS, Manifest, Member
from perplex_mono.backups.snapshot import schema_revision
from perplex_mono.backups.steps import BlockingSteps
from perplex_mono.configuration.service import held_overrides
from perplex_mono.doctor.index import open_mended
from perplex_mono.doctor.service import open_doctor
from perplex_mono.errors import DataCorrupt, InvalidInput
from perplex_mono.settings import Settings
from perplex_mono.settings.loading import with_overrides
from perplex_mono.storage.data_directory import LOCK_NAME, DataDirectory
from perplex_mono.storage.database import Database, knows_revision
from perplex_mono.storage.disk_full import DiskReserve, disk_full_told
from perplex_mono.storage.identity import utc_now
from perplex_mono.storage.lance_files import SyncedFolder
from perplex_mono.storage.replacing import INCOMING, OUTGOING, Replacement, is_decided, replace_entries

OnStep = Callable[[str], None]
# What a restore takes out of the data directory, whether or not the backup has it.
LIBRARY: Final = (DATABASE, f"{DATABASE}-wal", f"{DATABASE}-shm", BLOBS, "vectors", MODELS)
SHOWN_FINDINGS: Final = 5


class Restored(msgspec.Struct, frozen=True):
    """What was restored, and where the library that was there before lies now, if there was one.

    `changed_settings` names what was changed at run time there, and holds here now.
    """

    data_directory: str
    kept_aside: str | None
    manifest: Manifest
    changed_settings: list[str]


def require_restorable(file: Path) -> Manifest:
    """The manifest of a backup that this version can restore, going by its first bytes and its length.

    Raises `DataCorrupt` for a damaged file, `InvalidInput` for one of a newer version.
    """
    manifest = read_manifest(file)
    if not knows_revision(manifest.schema_revision):
        raise InvalidInput(
            f"The backup was made by another perplex-mono ({manifest.product_version}), whose database has revision"
            f" {manifest.schema_revision}, which this version does not know. Restore it with that one or a newer one."
        )
    return manifest


async def restore(settings: Settings, file: Path, *, on_step: OnStep, on_bytes: OnBytes) -> Restored:
    """Put the backup in the place of the library in the settings' data directory, which is kept aside.

    Until everything is unpacked, proven whole and on disk nothing of the old library is touched; from there on the new
    one is in place, at the latest when the directory is opened next. Raises `Conflict` while a process uses it,
    `StorageFull`, `DataCorrupt` and `InvalidInput`; nothing has changed then.
    """
    manifest = await asyncio.to_thread(require_restorable, file)
    directory = DataDirectory(settings.data_directory).open()
    try:
        # The index, which is not in the backup, takes about as much as the database.
        DiskReserve(0, 0.0).require(directory.path, manifest.size_bytes + 2 * manifest.members[0].size_bytes)
        now = utc_now()
        async with _staging(directory.path, now) as staging:
            on_step("unpacking")
            with BlockingSteps(lambda count, _: on_bytes(count)) as steps:
                await _unpack(file, staging, manifest, steps)
            changed = await _prove(settings, staging, manifest, on_step)
            on_step("putting it in place")
            await asyncio.to_thread(SyncedFolder(staging).sync)
            aside = _swap(directory.path, staging, now)  # a few renames that nothing may interrupt
    finally:
        directory.close()
    return Restored(str(directory.path), None if aside is None else str(aside), manifest, changed)


@asynccontextmanager
async def _staging(directory: Path, now: datetime) -> AsyncIterator[Path]:
    """A private folder inside the data directory, gone at the end, unless a swap that stopped halfway needs it."""
    staging = directory / f"{INCOMING}{now:%Y%m%dT%H%M%SZ}"
    staging.mkdir(mode=0o700)
    try:
        yield staging
    finally:
        if not is_decided(directory):
            await asyncio.to_thread(shutil.rmtree, staging, ignore_errors=True)


async def _unpack(file: Path, staging: Path, manifest: Manifest, steps: BlockingSteps) -> None:
    (staging / BLOBS).mkdir(mode=0o700)
    with disk_full_told():
        unpacked = await steps.run(
            "unpacking", lambda on_bytes: unpack_archive(file, lambda member: _open(staging, member), on_bytes)
        )
    if unpacked != manifest:
        raise DataCorrupt("The backup was changed while it was read.")


@contextmanager
def _open(staging: Path, member: Member) -> Iterator[BinaryIO]:
    """A new file for the member; its name is one of the few that a manifest may have."""
    path = staging / member.name.removeprefix(f"{SECRETS}/")
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as target:
        yield target


async def _prove(settings: Settings, staging: Path, manifest: Manifest, on_step: OnStep) -> list[str]:
    """Open what was unpacked as a server would, build its index, and have the doctor look at all of it.

    Returns the names of the settings that were changed at run time, which come with the database.
    """
    data = msgspec.structs.replace(settings.data, directory=str(staging))
    staged = msgspec.structs.replace(settings, data=data)
    place = DataDirectory(staging)
    database = Database(place.database)
    try:
        await _require_expected(database, manifest)
        await database.migrate()
        overrides = await held_overrides(settings, database)
        language = with_overrides(settings, overrides).search.language
        on_step("building the search index")
        vectors = await open_mended(place.vectors, database, fts_language=language)
        await vectors.close()
    finally:
        await database.close()
    async with open_doctor(staged) as doctor:
        report = await doctor.examine(lambda check: on_step(f"checking {check}"))
    if not report.healthy:
        told = "; ".join(f"{found.subject}: {found.problem}" for found in report.findings[:SHOWN_FINDINGS])
        raise DataCorrupt(f"What is in the backup is not a sound library ({told}); nothing was changed.")
    return sorted(overrides)


async def _require_expected(database: Database, manifest: Manifest) -> None:
    """A sound file at the revision that the manifest names, with nothing in it that runs by itself."""
    damage = await database.damage()
    if damage:
        raise DataCorrupt(f"The database in the backup is damaged: {'; '.join(damage[:SHOWN_FINDINGS])}")
    programs = await database.programs()
    if programs:
        raise DataCorrupt(
            f"The database in the backup has a trigger or view, '{programs[0]}': it was made by no backup."
        )
    async with database.read() as session:
        revision = await schema_revision(session)
    if revision != manifest.schema_revision:
        raise DataCorrupt(f"The database in the backup has revision {revision}, its manifest says otherwise.")


def _swap(directory: Path, staging: Path, now: datetime) -> Path | None:
    """The swap itself; where the old library lies then."""
    incoming = sorted(path.name for path in staging.iterdir() if path.name != LOCK_NAME)
    outgoing = [name for name in dict.fromkeys([*LIBRARY, *incoming]) if (directory / name).exists()]
    aside = directory / f"{OUTGOING}{now:%Y%m%dT%H%M%SZ}"
    replace_entries(directory, Replacement(staging.name, aside.name, outgoing, incoming))
    return aside if outgoing else None
