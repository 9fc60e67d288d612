"""Backups as clients see them."""

from datetime import datetime

import msgspec

from perplex_mono.backups.manifest import Counts, Heading


class NewBackup(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a backup is to hold."""

    include_secrets: bool = False


class BackupAccepted(msgspec.Struct, frozen=True):
    """A backup that will be made: it is there under its id once the operation has completed."""

    operation_id: str
    backup_id: str


class BackupView(msgspec.Struct, frozen=True):
    """A backup that was read back to its last byte before it got its name. `size_bytes` is that of its file."""

    id: str
    operation_id: str
    created_at: datetime
    size_bytes: int
    product_version: str
    schema_revision: str
    includes_secrets: bool
    is_scheduled: bool
    counts: Counts


class BackupList(msgspec.Struct, frozen=True):
    """The backups there are, newest first."""

    items: list[BackupView]


def backup_view(heading: Heading, size_bytes: int) -> BackupView:
    """The file as clients see it."""
    return BackupView(
        id=heading.backup_id,
        operation_id=heading.operation_id,
        created_at=heading.created_at,
        size_bytes=size_bytes,
        product_version=heading.product_version,
        schema_revision=heading.schema_revision,
        includes_secrets=heading.includes_secrets,
        is_scheduled=heading.is_scheduled,
        counts=heading.counts,
    )
