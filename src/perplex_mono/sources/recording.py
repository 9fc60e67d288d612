"""Writes down what a scan found in a few files, in one transaction: rows, skips, and new documents."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from sqlmodel.ext.asyncio.session import AsyncSession

from perplex_mono.library.models import Document
from perplex_mono.library.repository import DocumentRepository
from perplex_mono.operations.ledger import Claim, Ledger
from perplex_mono.sources.changes import ChangeHandover, Changes
from perplex_mono.sources.models import Source, SourceFile
from perplex_mono.sources.progress import ScanProgress
from perplex_mono.sources.receiving import CopiedFile
from perplex_mono.sources.repository import SourceFileRepository
from perplex_mono.sources.succession import Succession, living
from perplex_mono.sources.walking import FoundFile, Skip
from perplex_mono.storage.blobs import BlobStore
from perplex_mono.telemetry.failpoints import failpoint


@dataclass(frozen=True)
class KnownContent:
    """A file whose bytes are those of a file seen before, so nothing was read."""

    file: FoundFile
    before: SourceFile

    @property
    def path(self) -> bytes:
        """Where it is now."""
        return self.file.path


Finding = CopiedFile | KnownContent | Skip


class ScanRecorder:
    """Records the findings of one scan of one source."""

    def __init__(
        self,
        ledger: Ledger,
        blobs: BlobStore,
        claim: Claim,
        source: Source,
        progress: ScanProgress,
        *,
        max_name_chars: int,
    ) -> None:
        self._ledger = ledger
        self._blobs = blobs
        self._claim = claim
        self._source = source
        self._progress = progress
        self._handover = ChangeHandover(ledger, progress)
        self._succession = Succession(source, max_name_chars)

    async def record(
        self, findings: Iterable[Finding], again: Sequence[str] = (), moved: Mapping[bytes, SourceFile] | None = None
    ) -> None:
        """Write these findings down. `again` are cancelled documents to take up once more.

        `moved` are files, by path, that are no longer where they were; a finding with their content is a renaming.
        """
        async with self._ledger.fenced(self._claim) as (session, operation):
            changes = Changes()
            for finding in findings:
                if isinstance(finding, Skip):
                    await self._skip(session, finding, changes)
                elif isinstance(finding, KnownContent):
                    await self._known(session, finding, moved or {}, changes)
                else:
                    await self._copied(session, finding, moved or {}, changes)
            for document_id in again:
                document = await session.get(Document, document_id)
                if document is not None and document.status == "cancelled":
                    changes.again.append(document)
            await self._handover.hand_over(session, operation, changes)
            self._ledger.mark_checkpoint(operation)
        failpoint("after_scan_batch")

    async def mark_missing(self, paths: Sequence[bytes], *, is_missing: bool = True) -> None:
        """These files are not where they were; or they are again, after a scan that did not come to its end."""
        async with self._ledger.fenced(self._claim) as (session, _):
            await SourceFileRepository(session, self._source.id).mark_missing(paths, is_missing=is_missing)

    async def remove_missing(self, limit: int) -> bool:
        """Forget some files that are gone and were not found elsewhere; whether there may be more."""
        async with self._ledger.fenced(self._claim) as (session, operation):
            files = await SourceFileRepository(session, self._source.id).list_missing(limit)
            for file in files:
                await session.delete(file)
            await session.flush()
            await self._succession.name_after_others(session, files)
            self._ledger.mark_checkpoint(operation)
        self._progress.add("removed", sum(file.document_id is not None for file in files))
        return len(files) == limit

    async def _skip(self, session: AsyncSession, skip: Skip, changes: Changes) -> None:
        row = await self._row(session, skip.path)
        if row.skip_reason != skip.reason:
            changes.skipped.append(skip)
        row.skip_reason, row.is_missing = skip.reason, False
        if skip.file is not None:
            _identify(row, skip.file)
        if not skip.is_file:
            row.document_id = row.sha256 = None

    async def _known(
        self, session: AsyncSession, known: KnownContent, moved: Mapping[bytes, SourceFile], changes: Changes
    ) -> None:
        before = known.before
        row = await self._row(session, known.file.path)
        old_id = row.document_id
        _identify(row, known.file)
        row.sha256, row.document_id = before.sha256, before.document_id
        row.skip_reason = before.skip_reason if before.sha256 is None else None
        document = await living(session, row.document_id)
        if before.path in moved and await self._succession.rename(session, before, row, document):
            self._progress.add("renamed")
        else:
            self._progress.add("new" if old_id is None else "changed")
        await self._succession.leave(session, row, old_id, document, changes)

    async def _copied(
        self, session: AsyncSession, copied: CopiedFile, moved: Mapping[bytes, SourceFile], changes: Changes
    ) -> None:
        sha256 = copied.blob.sha256
        row = await self._row(session, copied.file.path)
        old_id, old_sha256 = row.document_id, row.sha256
        _identify(row, copied.file)
        row.sha256, row.skip_reason = sha256, None
        document = await DocumentRepository(session).find_by_content(self._source.collection_id, sha256)
        if document is None and sha256 == old_sha256:
            return  # somebody deleted the document, and the file is still the same
        if document is None:
            document = await self._new_document(session, copied, row, changes)
        elif not self._blobs.exists(sha256):
            changes.blobs.append(copied.blob)  # the original had gone missing: here it is again
        if document.status in ("failed", "cancelled"):
            changes.again.append(document)
        row.document_id = document.id
        if old_sha256 is None and await self._succession.moved_from(session, moved, row, document):
            self._progress.add("renamed")
        elif old_sha256 != sha256:
            self._progress.add("new" if old_sha256 is None else "changed")
        await self._succession.leave(session, row, old_id, document, changes)

    async def _new_document(
        self, session: AsyncSession, copied: CopiedFile, row: SourceFile, changes: Changes
    ) -> Document:
        media_type = await DocumentRepository(session).find_media_type(copied.blob.sha256)
        document = Document(
            owner_id=self._source.owner_id,
            collection_id=self._source.collection_id,
            operation_id=self._claim.operation_id,  # until the child operation is there
            name=self._succession.name(row.path),
            sha256=copied.blob.sha256,
            size_bytes=copied.blob.size_bytes,
            media_type=media_type or copied.media_type,
            source_id=self._source.id,
        )
        old = await living(session, row.document_id)
        if old is not None:
            document.tags, document.meta = list(old.tags), dict(old.meta)
            if old.source_id is not None and old.name != document.name:
                document.name = old.name  # somebody gave it another
        session.add(document)
        await session.flush()
        changes.fresh.append(document)
        changes.blobs.append(copied.blob)
        return document

    async def _row(self, session: AsyncSession, path: bytes) -> SourceFile:
        row = await SourceFileRepository(session, self._source.id).find(path)
        if row is None:
            row = SourceFile(source_id=self._source.id, path=path)
            session.add(row)
        return row


def _identify(row: SourceFile, file: FoundFile) -> None:
    row.size_bytes, row.modified_ns, row.identity, row.is_missing = (
        file.size_bytes,
        file.modified_ns,
        file.identity,
        False,
    )
