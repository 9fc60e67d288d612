"""Sources and their files as clients send and see them."""

from datetime import datetime
from typing import Annotated, NamedTuple

import msgspec
from msgspec import Meta

from perplex_mono.library.models import Document
from perplex_mono.operations.models import Operation
from perplex_mono.operations.schemas import ErrorView, error_view
from perplex_mono.sources.models import Source, SourceFile
from perplex_mono.sources.walking import printable

Glob = Annotated[str, Meta(max_length=255)]
Globs = Annotated[list[Glob], Meta(max_length=50)]


class NewSource(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A folder to follow. Globs are relative to it; one without `/` means names at any depth, `**` any folders."""

    directory: Annotated[str, Meta(min_length=1, max_length=4096)]
    include: Globs = []
    exclude: Globs = []
    recursive: bool = True
    watch: bool = True


class LastScan(msgspec.Struct, frozen=True):
    """The newest scan of a source, which may wait or run. `error` says why it failed."""

    operation_id: str
    state: str
    finished_at: datetime | None
    error: ErrorView | None


class SourceView(msgspec.Struct, frozen=True):
    """A folder that a collection follows. `scanned_at` ends the last whole scan; `last_scan` may have failed."""

    id: str
    collection_id: str
    directory: str
    include: list[str]
    exclude: list[str]
    recursive: bool
    watch: bool
    file_count: int
    skipped_count: int
    failed_count: int
    created_at: datetime
    scanned_at: datetime | None
    last_scan: LastScan | None


class SourcePage(msgspec.Struct, frozen=True):
    """A page of sources, oldest first."""

    items: list[SourceView]
    next_cursor: str | None


class SourceFileView(msgspec.Struct, frozen=True):
    """A file of a source. `reason` says why it was skipped, or why its document failed.

    A file that was skipped may still have the document of an earlier content.
    """

    path: str
    size_bytes: int
    document_id: str | None
    document_status: str | None
    reason: str | None


class SourceFilePage(msgspec.Struct, frozen=True):
    """A page of files, by path."""

    items: list[SourceFileView]
    next_cursor: str | None


class ScanAccepted(msgspec.Struct, frozen=True):
    """The folder will be scanned: a scan is an operation, and both ids are its id."""

    scan_id: str
    operation_id: str


class FileCounts(NamedTuple):
    """How many files a source has, how many were skipped, and how many of the others have a document that failed."""

    files: int
    skipped: int
    failed: int


def source_view(source: Source, counts: FileCounts, last_scan: Operation | None) -> SourceView:
    """The row as clients see it."""
    return SourceView(
        id=source.id,
        collection_id=source.collection_id,
        directory=source.path,
        include=source.include,
        exclude=source.exclude,
        recursive=source.recursive,
        watch=source.watch,
        file_count=counts.files,
        skipped_count=counts.skipped,
        failed_count=counts.failed,
        created_at=source.created_at,
        scanned_at=source.scanned_at,
        last_scan=_last_scan(last_scan) if last_scan is not None else None,
    )


def file_view(file: SourceFile, document: Document | None) -> SourceFileView:
    """The row as clients see it; a document that was deleted is none."""
    there = document if document is not None and document.status != "deleting" else None
    failure = there.failure_message if there is not None and there.status == "failed" else None
    return SourceFileView(
        path=printable(file.path),
        size_bytes=file.size_bytes,
        document_id=there.id if there is not None else None,
        document_status=there.status if there is not None else None,
        reason=file.skip_reason or failure,
    )


def _last_scan(operation: Operation) -> LastScan:
    return LastScan(
        operation_id=operation.id,
        state=operation.state,
        finished_at=operation.finished_at,
        error=error_view(operation),
    )
