"""What an `ingest` comes to: a short table for people, one JSON object for programs, an exit code for scripts."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from perplex_mono.cli.file_selection import SkippedFile
from perplex_mono.cli.plain_text import one_line
from perplex_mono.cli.progress_bar import duration
from perplex_mono.cli.terminal import results, write_json
from perplex_mono.library.schemas import DocumentView, UploadAccepted, UploadedDocument
from perplex_mono.operations.schemas import OperationView

MAX_ROWS = 60
STYLES = {"ready": "green", "failed": "red", "skipped": "red", "duplicate": "cyan"}


@dataclass(frozen=True)
class Row:
    """One line of the table. `is_good` is None for what does not decide the exit code (attachments)."""

    name: str
    status: str
    pages: int | None = None
    chunks: int | None = None
    note: str = ""
    is_good: bool | None = False


@dataclass
class IngestReport:
    """All that is known at the end. Without `is_complete` the documents were not waited for."""

    uploads: Sequence[UploadAccepted]
    files: Sequence[tuple[Path, UploadedDocument]]
    skipped: Sequence[SkippedFile]
    passed_over: int
    is_complete: bool
    documents: dict[str, DocumentView] = field(default_factory=dict)
    operations: Sequence[OperationView] = ()

    @property
    def exit_code(self) -> int:
        """0 when every file is ready, or has the content of a document that is; or, not waiting, when all are kept."""
        return int(any(row.is_good is False for row in self.rows()))

    def rows(self) -> list[Row]:
        """One for each file in the order given, then failed attachments, then what was not taken."""
        rows = [self._file_row(path, uploaded) for path, uploaded in self.files]
        given = {uploaded.id for _, uploaded in self.files}
        rows += [
            self._attachment_row(item)
            for item in self.documents.values()
            if item.id not in given and item.status == "failed"
        ]
        return rows + [Row(str(item.path), "skipped", note=item.reason) for item in self.skipped]

    def to_json(self) -> dict[str, Any]:
        """The API's own objects, and what was not taken."""
        return {
            "uploads": self.uploads,
            "operations": self.operations,
            "documents": list(self.documents.values()),
            "skipped": [{"path": one_line(str(item.path)), "reason": item.reason} for item in self.skipped],
        }

    def _file_row(self, path: Path, uploaded: UploadedDocument) -> Row:
        if not self.is_complete:
            note = _same_as(uploaded.duplicate_of) if uploaded.duplicate_of else ""
            return Row(path.name, uploaded.status, note=note, is_good=True)
        document = self.documents.get(uploaded.id)
        if document is None:
            return Row(path.name, "deleted", note="it was deleted meanwhile")
        if document.status != "ready":
            return Row(path.name, document.status, document.page_count, note=_reason(document))
        is_again = uploaded.duplicate_of is not None and uploaded.status != "received"
        is_twin = uploaded.duplicate_of is not None and any(
            other is not uploaded and other.id == uploaded.id and other.duplicate_of is None for _, other in self.files
        )
        if is_again or is_twin:
            return Row(
                path.name,
                "duplicate",
                document.page_count,
                document.chunk_count,
                f"same content as {document.name}",
                is_good=True,
            )
        return Row(path.name, "ready", document.page_count, document.chunk_count, is_good=True)

    def _attachment_row(self, document: DocumentView) -> Row:
        return Row(document.name, "failed", document.page_count, note=f"attachment; {_reason(document)}", is_good=None)


def show_report(report: IngestReport, *, seconds: float, as_json: bool) -> None:
    """Print it on standard output."""
    if as_json:
        write_json(report.to_json())
        return
    rows = report.rows()
    console = results()
    console.print(_table(_chosen(rows)))
    counts = Counter(row.status for row in rows if row.is_good is not None)
    parts = [f"{count} {status}" for status, count in counts.items()]
    if report.passed_over:
        parts.append(f"{report.passed_over} hidden or links passed over")
    console.print(f"{', '.join(parts)} in {duration(seconds)}")
    if not report.is_complete:
        for answer in report.uploads:
            if answer.operation_id:
                console.print(f"Follow: perplex-mono operations --follow {answer.operation_id}", soft_wrap=True)


def _chosen(rows: list[Row]) -> list[Row]:
    """All of a few; of many, those that a person must look at."""
    return rows if len(rows) <= MAX_ROWS else [row for row in rows if row.status != "ready"]


def _table(rows: list[Row]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("Document", overflow="fold")
    table.add_column("Status")
    table.add_column("Pages", justify="right")
    table.add_column("Chunks", justify="right")
    table.add_column("Note", overflow="fold")
    for row in rows:
        table.add_row(
            Text(one_line(row.name)),
            Text(row.status, style=STYLES.get(row.status, "")),
            "" if row.pages is None else str(row.pages),
            "" if row.chunks is None else str(row.chunks),
            Text(one_line(row.note)),
        )
    return table


def _reason(document: DocumentView) -> str:
    if document.failure is None:
        return ""
    retry = " (may succeed when tried again)" if document.failure.retryable else ""
    return f"{document.failure.code}: {document.failure.message}{retry}"


def _same_as(document_id: str) -> str:
    return f"same content as document {document_id}"
