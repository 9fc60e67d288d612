"""What goes into a backup, member by member, and how it is written."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from perplex_mono import __version__
from perplex_mono.backups.archive import ArchiveWriter, OnBytes
from perplex_mono.backups.manifest import BLOBS, FORMAT_VERSION, MODELS, SECRETS, Manifest, Member, require_name
from perplex_mono.backups.secrets import SECRET_FILES
from perplex_mono.backups.snapshot import Snapshot, measure
from perplex_mono.errors import DataCorrupt
from perplex_mono.operations.ledger import Claim
from perplex_mono.storage.blobs import BlobStore
from perplex_mono.storage.data_directory import DataDirectory
from perplex_mono.storage.disk_full import disk_full_told
from perplex_mono.storage.identity import utc_now
from perplex_mono.telemetry.failpoints import failpoint


@dataclass(frozen=True)
class Contents:
    """A manifest, and the files its members are made of; what is not in `files` is an original."""

    manifest: Manifest
    files: Mapping[str, Path]
    blobs: BlobStore

    def open(self, member: Member) -> BinaryIO:
        """The bytes of a member. Raises `DataCorrupt` for an original that is missing."""
        if member.name in self.files:
            return self.files[member.name].open("rb")
        try:
            return self.blobs.open_held(member.name.removeprefix(f"{BLOBS}/"))
        except FileNotFoundError:
            raise DataCorrupt(
                f"The original '{member.name}' is missing, so no backup can be good;"
                " `perplex-mono doctor` names its document."
            ) from None


def gather(claim: Claim, snapshot: Snapshot, copy: Path, directory: DataDirectory, blobs: BlobStore) -> Contents:
    """All that belongs to the snapshot. Blocks: models are read for their hash."""
    keeps_secrets = bool(claim.params.get("include_secrets"))
    files = {
        f"{MODELS}/{path.relative_to(directory.models).as_posix()}": path for path in model_files(directory.models)
    }
    if keeps_secrets:
        files |= {f"{SECRETS}/{name}": path for name in SECRET_FILES if (path := directory.path / name).is_file()}
    others = [Member(name, *measure(path)) for name, path in files.items()]
    for member in others:
        require_name(member.name)
    manifest = Manifest(
        format_version=FORMAT_VERSION,
        product_version=__version__,
        backup_id=str(claim.params["backup_id"]),
        operation_id=claim.operation_id,
        created_at=utc_now(),
        schema_revision=snapshot.schema_revision,
        includes_secrets=keeps_secrets,
        is_scheduled=bool(claim.params.get("is_scheduled")),
        counts=snapshot.counts,
        index_models=snapshot.index_models,
        members=[snapshot.database, *others, *snapshot.originals],
    )
    return Contents(manifest, {**files, snapshot.database.name: copy}, blobs)


def write_archive(path: Path, contents: Contents, on_bytes: OnBytes) -> None:
    """Write the whole file (mode 0600) and have it on disk. Raises `StorageFull`, or `DataCorrupt` for a bad source."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with disk_full_told(), os.fdopen(descriptor, "wb") as file:
        writer = ArchiveWriter(file, contents.manifest, on_bytes)
        for member in contents.manifest.members:
            with contents.open(member) as source:
                writer.add(member, source)
            failpoint("mid_backup")
        writer.finish()
        file.flush()
        os.fsync(file.fileno())


def model_files(folder: Path) -> Sequence[Path]:
    """Regular files below the folder of models, links left out."""
    return sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
