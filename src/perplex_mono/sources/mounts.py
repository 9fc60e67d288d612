"""Tells what is gone from what is only out of sight: with a file system that is not mounted nothing is removed."""

from collections.abc import Collection

from perplex_mono.errors import Unavailable
from perplex_mono.operations.ledger import Claim, Ledger
from perplex_mono.sources.models import Source
from perplex_mono.sources.repository import SourceFileRepository
from perplex_mono.sources.walking import printable
from perplex_mono.storage.database import Database

EMPTIED = (
    "The folder is empty and lies on another file system than before: it seems that it is not mounted. Nothing was"
    " removed. If it is meant to be empty, delete the source."
)
OUT_OF_SIGHT = (
    "{count} files, this one among them, are not there, and nothing else of the file system they lay on is: it seems"
    " that it is not mounted. Their documents stay until a scan finds that file system again and the files are gone"
    " from it, or finds the same content elsewhere, or until the source is deleted."
)


async def refuse_emptied(database: Database, source: Source, device: int | None) -> None:
    """Raise `Unavailable` when the folder, in which nothing was seen, is not the one that held files before."""
    if source.device in (None, device):
        return
    async with database.read() as session:
        files, _ = await SourceFileRepository(session, source.id).count()
    if files:
        raise Unavailable(f"The folder '{printable(source.path)}'", EMPTIED)


async def spare_out_of_sight(ledger: Ledger, claim: Claim, source_id: str, devices: Collection[int]) -> None:
    """Keep the missing files that lay on none of `devices`, which are all that are there, and say so.

    A folder that moved here from such a file system was recognized by its content before, so those files are not kept.
    """
    async with ledger.fenced(claim) as (session, operation):
        files = SourceFileRepository(session, source_id)
        count, first = await files.count_missing_elsewhere(devices)
        if first is None:
            return
        await files.keep_missing_elsewhere(devices)
        message = OUT_OF_SIGHT.format(count=count)
        await ledger.emit(session, operation, "warning", {"name": printable(first), "message": message})
