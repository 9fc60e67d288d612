"""The `scan` operation: walks a source's folder and makes its collection follow what is there.

What is known and unchanged costs a look at its directory entry and no more, so an interrupted scan is simply run again
from the beginning of the walk.
"""

import asyncio
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from perplex_mono.errors import NotFound, Unavailable
from perplex_mono.library.models import Collection
from perplex_mono.library.removal import hide_documents
from perplex_mono.operations.ledger import Claim, Ledger
from perplex_mono.sources.comparing import FolderScan
from perplex_mono.sources.folders import AllowedFolders
from perplex_mono.sources.globs import FileFilter
from perplex_mono.sources.metrics import SourceMetrics
from perplex_mono.sources.models import Source
from perplex_mono.sources.mounts import refuse_emptied, spare_out_of_sight
from perplex_mono.sources.progress import ScanProgress
from perplex_mono.sources.receiving import FileReceiver
from perplex_mono.sources.recording import ScanRecorder
from perplex_mono.sources.sourced_document_repository import SourcedDocumentRepository
from perplex_mono.sources.walking import Found, Walk
from perplex_mono.storage.blobs import BlobStore
from perplex_mono.storage.database import Database
from perplex_mono.storage.identity import utc_now

BATCH_ENTRIES = 512
BATCH_REMOVALS = 500


class ScanHandler:
    """Runs `scan` operations; `operations.turns` never lets two of one source run side by side."""

    def __init__(
        self,
        database: Database,
        ledger: Ledger,
        blobs: BlobStore,
        folders: AllowedFolders,
        metrics: SourceMetrics,
        *,
        max_file_bytes: int,
        max_name_chars: int,
        queue_documents: int,
    ) -> None:
        self._database = database
        self._ledger = ledger
        self._blobs = blobs
        self._folders = folders
        self._metrics = metrics
        self._receiver = FileReceiver(blobs, max_bytes=max_file_bytes)
        self._max_name_chars = max_name_chars
        self._room = max(1, queue_documents // 2)

    async def run(self, claim: Claim) -> None:
        """Scan until the whole folder was seen and what is gone is removed."""
        source = await self._source(claim)
        if source is None:
            await self._ledger.complete(claim, summary={"reason": "the source was deleted"})
            return
        progress = ScanProgress(self._ledger, claim, self._metrics)
        try:
            async with progress.recording():
                await self._scan(claim, source, progress)
                progress.current = ""
        except (Unavailable, NotFound) as error:
            await self._ledger.fail(claim, error, permanent=True)
            return
        await self._ledger.complete(claim, summary=progress.counts.as_data())

    async def _source(self, claim: Claim) -> Source | None:
        async with self._database.read() as session:
            source = await session.get(Source, claim.params["source_id"])
            collection = await session.get(Collection, source.collection_id) if source is not None else None
        return None if collection is None or collection.deleted_at is not None else source

    async def _scan(self, claim: Claim, source: Source, progress: ScanProgress) -> None:
        await asyncio.to_thread(self._folders.require, source.path)
        place = await asyncio.to_thread(_status, source.path)
        recorder = ScanRecorder(self._ledger, self._blobs, claim, source, progress, max_name_chars=self._max_name_chars)
        scan = FolderScan(self._database, self._receiver, recorder, source, progress, self._room)
        walk = Walk(
            source.path,
            FileFilter(source.include, source.exclude),
            source.recursive,
            avoid=await asyncio.to_thread(self._folders.forbidden),
        )
        found = walk.run()
        while batch := await asyncio.to_thread(_take, found, BATCH_ENTRIES):
            await scan.take(batch)
        if await asyncio.to_thread(_status, source.path) != place:
            raise Unavailable(f"The folder '{source.path}'", "it went away while it was scanned; nothing was removed")
        device = place[0] if place is not None else None
        if not progress.counts.seen:
            await refuse_emptied(self._database, source, device)
        await scan.mark_rest_missing()
        await spare_out_of_sight(self._ledger, claim, source.id, await asyncio.to_thread(walk.devices_there))
        while await recorder.remove_missing(BATCH_REMOVALS):
            pass
        await self._remove_orphans(claim, source)
        async with self._ledger.fenced(claim) as (session, _):
            row = await session.get_one(Source, source.id)
            row.device, row.scanned_at = device, utc_now()

    async def _remove_orphans(self, claim: Claim, source: Source) -> None:
        """Hide the documents that no file stands for any more."""
        after = ""
        while True:
            async with self._ledger.fenced(claim) as (session, operation):
                documents = SourcedDocumentRepository(session)
                orphans = await documents.list_orphans(source.collection_id, after, BATCH_REMOVALS)
                if orphans:
                    await hide_documents(session, self._ledger, orphans)
                    after = orphans[-1].id
                self._ledger.mark_checkpoint(operation)
            if len(orphans) < BATCH_REMOVALS:
                return


def _take(found: Iterator[Found], count: int) -> list[Found]:
    return list(islice(found, count))


def _status(folder: str) -> tuple[int, int] | None:
    """The folder's device and inode; None when it is not there, of which the walk says why."""
    try:
        status = Path(folder).stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino
