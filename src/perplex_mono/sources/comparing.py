"""Lays a walk beside what is known of the folder, batch after batch, and has the difference recorded."""

import asyncio
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from perplex_mono.library.repository import DocumentRepository
from perplex_mono.sources.models import Source, SourceFile
from perplex_mono.sources.progress import ScanProgress
from perplex_mono.sources.receiving import CopiedFile, FileReceiver
from perplex_mono.sources.recording import Finding, KnownContent, ScanRecorder
from perplex_mono.sources.repository import SourceFileRepository
from perplex_mono.sources.walking import Found, FoundFile, Skip, identity_of, printable
from perplex_mono.storage.database import Database
from perplex_mono.telemetry.waiting import mark_waiting

ROWS_AT_ONCE = 512
BATCH_FILES = 64
CONCURRENT_COPIES = 4
ROOM_POLL_SECONDS = 0.25


class FolderScan:
    """The walk's findings, batch after batch, laid beside what is known."""

    def __init__(
        self,
        database: Database,
        receiver: FileReceiver,
        recorder: ScanRecorder,
        source: Source,
        progress: ScanProgress,
        room: int,
    ) -> None:
        self._database = database
        self._receiver = receiver
        self._recorder = recorder
        self._source = source
        self._progress = progress
        self._room = room
        self._last = b""
        self._unseen: list[bytes] = []  # folders that could not be looked into: what is below them stays as it is

    async def take(self, batch: Sequence[Found]) -> None:
        """Follow what these entries, the next in the walk's order, say."""
        known = await self._known_until(batch)
        if back := [path for path, (row, _) in known.items() if row.is_missing]:
            await self._recorder.mark_missing(back, is_missing=False)
        skips: list[Skip] = []
        again: list[str] = []
        work: list[FoundFile] = []
        for found in batch:
            row, status = known.get(found.path, (None, None))
            if isinstance(found, FoundFile):
                self._progress.add("seen")
                reason = self._receiver.reason_against(found)
                if reason is not None:
                    found = Skip(found.path, reason)  # noqa: PLW2901  # it is one, after a look at its size
            if isinstance(found, Skip):
                self._progress.add("skipped")
                if row is None or row.skip_reason != found.reason or _lost_its_file(row, found):
                    skips.append(found)
            elif row is None or not _is_unchanged(row, found):
                work.append(found)
            elif row.skip_reason is not None:
                self._progress.add("skipped")
            elif status == "cancelled" and row.document_id is not None:
                again.append(row.document_id)
        self._progress.current = printable(batch[-1].path)
        if again:
            await self._wait_for_room()
        if skips or again:
            await self._recorder.record(skips, again)
        size = min(BATCH_FILES, self._room)
        for start in range(0, len(work), size):
            await self._take_up(work[start : start + size])

    async def mark_rest_missing(self) -> None:
        """Past the walk's end nothing is there any more."""
        await self._mark_missing_between(None, frozenset())

    async def _known_until(self, batch: Sequence[Found]) -> dict[bytes, tuple[SourceFile, str | None]]:
        """What is known of these entries; what is known between them is not there any more."""
        self._unseen += [
            found.path for found in batch if isinstance(found, Skip) and found.is_file and _is_folder(found)
        ]
        return await self._mark_missing_between(batch[-1].path, {found.path for found in batch})

    async def _mark_missing_between(
        self, until: bytes | None, present: Iterable[bytes]
    ) -> dict[bytes, tuple[SourceFile, str | None]]:
        known: dict[bytes, tuple[SourceFile, str | None]] = {}
        present = frozenset(present)
        while True:
            async with self._database.read() as session:
                files = SourceFileRepository(session, self._source.id)
                rows = await files.list_between(self._last, until, ROWS_AT_ONCE)
            known.update({row.path: (row, status) for row, status in rows if row.path in present})
            missing = [row.path for row, _ in rows if row.path not in present and not row.is_missing]
            missing = [path for path in missing if not path.startswith(tuple(self._unseen))]
            if missing:
                await self._recorder.mark_missing(missing)
            if rows:
                self._last = rows[-1][0].path
            if len(rows) < ROWS_AT_ONCE:
                self._last = until if until is not None else self._last
                return known

    async def _take_up(self, files: Sequence[FoundFile]) -> None:
        """New and changed files: those whose content is known under another name are not even opened."""
        self._progress.current = printable(files[0].path)
        async with self._database.read() as session:
            rows = SourceFileRepository(session, self._source.id)
            identical = await rows.list_identical({file.identity for file in files})
        by_content = {_content_key(row): row for row in identical if row.sha256 or row.skip_reason}
        findings: list[Finding] = []
        unread: list[FoundFile] = []
        for file in files:
            before = by_content.get((file.identity, file.size_bytes, file.modified_ns))
            if before is not None and before.path != file.path:
                findings.append(KnownContent(file, before))
            else:
                unread.append(file)
        copies = await self._copy(unread)
        try:
            moved = await self._moved(identical, copies)
            self._progress.add("skipped", sum(isinstance(copy, Skip) for copy in copies))
            in_order = sorted([*findings, *copies], key=lambda finding: finding.path)
            await self._recorder.record(in_order, moved=moved)
        finally:
            _discard(copies)

    async def _copy(self, files: Sequence[FoundFile]) -> list[CopiedFile | Skip]:
        copies: list[CopiedFile | Skip] = []
        if files:
            await self._wait_for_room()
        places = asyncio.Semaphore(CONCURRENT_COPIES)

        async def copy(file: FoundFile) -> None:
            async with places:
                copies.append(await self._receiver.receive(file))

        try:
            async with asyncio.TaskGroup() as group:
                for file in files:
                    group.create_task(copy(file))
        except BaseException as error:
            _discard(copies)
            if isinstance(error, ExceptionGroup):
                raise error.exceptions[0] from error
            raise
        return copies

    async def _moved(
        self, identical: Iterable[SourceFile], copies: Iterable[CopiedFile | Skip]
    ) -> dict[bytes, SourceFile]:
        """Of the known files with the same content, those that are no longer where they were."""
        hashes = {copy.blob.sha256 for copy in copies if isinstance(copy, CopiedFile)}
        async with self._database.read() as session:
            files = SourceFileRepository(session, self._source.id)
            same = await files.list_of_content(self._source.collection_id, hashes)
        candidates = {row.path: row for row in (*identical, *same)}
        return await asyncio.to_thread(_gone, self._source.path, candidates)

    async def _wait_for_room(self) -> None:
        """A scan never fails on a full queue: it waits, and leaves room for what people upload."""
        while True:
            async with self._database.read() as session:
                if await DocumentRepository(session).count_in_line() <= self._room:
                    return
            mark_waiting()
            await asyncio.sleep(ROOM_POLL_SECONDS)


def _is_unchanged(row: SourceFile, file: FoundFile) -> bool:
    """Whether the row says all about the file: what it holds, or a reason to skip it that still stands."""
    is_said = row.skip_reason is None or row.sha256 is None
    return is_said and _content_key(row) == (file.identity, file.size_bytes, file.modified_ns)


def _content_key(row: SourceFile) -> tuple[str, int, int]:
    return row.identity, row.size_bytes, row.modified_ns


def _lost_its_file(row: SourceFile, skip: Skip) -> bool:
    return not skip.is_file and row.document_id is not None


def _is_folder(found: Found) -> bool:
    return found.path.endswith(b"/")


def _gone(root: str, files: dict[bytes, SourceFile]) -> dict[bytes, SourceFile]:
    """Those that are not at their path any more, or something else is."""
    gone: dict[bytes, SourceFile] = {}
    for path, row in files.items():
        try:
            there = identity_of(Path(root, os.fsdecode(path)).stat())
        except OSError:
            there = ""
        if there != row.identity:
            gone[path] = row
    return gone


def _discard(copies: Iterable[CopiedFile | Skip]) -> None:
    for copy in copies:
        if isinstance(copy, CopiedFile):
            copy.blob.discard()
