"""`perplex-mono ingest`: select, hand over, follow to the end, report."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from perplex_mono.cli.backend import Backend, open_backend, resolve_collections
from perplex_mono.cli.file_selection import Selection, select_files
from perplex_mono.cli.following import follow
from perplex_mono.cli.ingest_report import IngestReport, show_report
from perplex_mono.cli.progress_bar import ProgressBar
from perplex_mono.cli.terminal import notices
from perplex_mono.cli.uploading import Upload, Uploader, file_size
from perplex_mono.errors import InvalidInput, NotFound, Overloaded, PerplexError
from perplex_mono.library.schemas import DocumentView
from perplex_mono.settings import LimitSettings, Settings

FOLLOWED_AT_ONCE = 4  # a user may have 10 feeds open
FETCHED_AT_ONCE = 8
UNFINISHED = ("received", "processing")


@dataclass(frozen=True)
class IngestRequest:
    """What the user asked for."""

    paths: Sequence[Path]
    collection: str
    tags: Sequence[str]
    is_recursive: bool
    is_waiting: bool
    as_json: bool


async def ingest_paths(settings: Settings, server: str | None, request: IngestRequest) -> int:
    """Ingest and report; the exit code."""
    started = time.monotonic()
    selection = await asyncio.to_thread(
        select_files, request.paths, is_recursive=request.is_recursive, exclude=settings.data_directory
    )
    if not selection.files and not selection.skipped:
        places = ", ".join(f"'{path}'" for path in request.paths)
        raise InvalidInput(f"There is no file to ingest in {places}.")
    async with open_backend(settings, server) as backend:
        [collection_id] = await resolve_collections(backend, [request.collection])
        report = await _Ingest(backend, settings.limits, request, selection).run(collection_id)
    show_report(report, seconds=time.monotonic() - started, as_json=request.as_json)
    return report.exit_code


class _Ingest:
    """One run, with what it needs to say when it is interrupted."""

    def __init__(self, backend: Backend, limits: LimitSettings, request: IngestRequest, selection: Selection) -> None:
        self._backend = backend
        self._limits = limits
        self._request = request
        self._selection = selection
        self._attachments: set[str] = set()
        self._console = notices()

    async def run(self, collection_id: str) -> IngestReport:
        """Hand the files over and follow the work."""
        bar = ProgressBar(self._console)
        uploader = Uploader(
            self._backend,
            collection_id,
            self._request.tags,
            max_files=self._limits.max_files_per_request,
            max_bytes=self._limits.max_upload_bytes,
            on_bytes=bar.count_bytes,
            on_wait=bar.notice,
        )
        try:
            with bar:
                bar.begin_bytes("Uploading", sum(map(file_size, self._selection.files)))
                upload = await uploader.upload(self._selection.files)
                return await self._finish(upload, bar)
        except (PerplexError, asyncio.CancelledError):
            self._say_what_goes_on(uploader.result)
            raise

    async def _finish(self, upload: Upload, bar: ProgressBar) -> IngestReport:
        report = IngestReport(
            uploads=upload.answers,
            files=upload.documents,
            skipped=self._selection.skipped + upload.skipped,
            passed_over=self._selection.passed_over,
            is_complete=self._request.is_waiting,
        )
        if not self._request.is_waiting:
            return report
        await self._follow(upload.operation_ids, bar)
        ids = [document.id for _, document in upload.documents]
        documents = await self._documents([*dict.fromkeys([*ids, *sorted(self._attachments)])])
        elsewhere = {item.operation_id for item in documents.values() if item.status in UNFINISHED}
        if elsewhere:
            await self._follow(sorted(elsewhere), bar)
            documents = await self._documents(list(documents))
        report.documents = documents
        report.operations = [await self._backend.operation(key) for key in upload.operation_ids]
        return report

    async def _follow(self, operation_ids: Sequence[str], bar: ProgressBar) -> None:
        places = asyncio.Semaphore(FOLLOWED_AT_ONCE)

        async def follow_one(operation_id: str) -> None:
            async with places:
                async for event in follow(self._backend, operation_id):
                    bar.show_event(event)
                    if event.type in ("document_started", "document_failed"):
                        self._attachments.add(event.data["document_id"])

        await asyncio.gather(*(follow_one(operation_id) for operation_id in operation_ids))

    async def _documents(self, ids: Sequence[str]) -> dict[str, DocumentView]:
        """The documents as they are now; one that was deleted meanwhile is left out."""
        places = asyncio.Semaphore(FETCHED_AT_ONCE)

        async def fetch(document_id: str) -> DocumentView | None:
            async with places:
                while True:
                    try:
                        return await self._backend.document(document_id)
                    except NotFound:
                        return None
                    except Overloaded as busy:
                        await asyncio.sleep(busy.retry_after_seconds)

        found = await asyncio.gather(*(fetch(document_id) for document_id in ids))
        return {document.id: document for document in found if document is not None}

    def _say_what_goes_on(self, upload: Upload) -> None:
        """What was handed over is safe; how to go on from here."""
        self._console.print(
            f"{len(upload.documents)} of {len(self._selection.files)} files were handed over and are kept."
        )
        if not upload.operation_ids:
            return
        if self._backend.outlives_command:
            self._console.print("The server goes on with them. To follow:")
            for operation_id in upload.operation_ids:
                self._console.print(f"  perplex-mono operations --follow {operation_id}", soft_wrap=True)
        else:
            self._console.print(
                "The work stops here; the next `serve` or `ingest` on this data directory goes on with it."
            )
