"""What an ingest comes to, in rows and in its exit code."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from perplex_mono.cli.file_selection import SkippedFile
from perplex_mono.cli.ingest_report import IngestReport, show_report
from perplex_mono.library.schemas import DocumentView, FailureView, UploadAccepted, UploadedDocument

NOW = datetime(2024, 1, 1, tzinfo=UTC)
FAILURE = FailureView(code="no_text", message="The file is \x1b[2Jempty.", retryable=False)


def document(key: str, status: str = "ready", failure: FailureView | None = None) -> DocumentView:
    return DocumentView(
        id=key,
        name=f"{key}.pdf",
        collection_id="c",
        parent_id=None,
        source_id=None,
        replaces_id=None,
        operation_id="op",
        status=status,
        media_type="application/pdf",
        size_bytes=1,
        sha256="",
        page_count=2,
        chunk_count=3 if status == "ready" else None,
        tags=[],
        metadata={},
        created_at=NOW,
        updated_at=NOW,
        failure=failure,
    )


def report(
    files: list[tuple[str, str | None]], documents: list[DocumentView], *, is_complete: bool = True, skipped: int = 0
) -> IngestReport:
    """`files` are ids with what they are duplicates of; a duplicate was ready before, others were received."""
    uploaded = [
        (Path(f"/in/{key}-{number}.pdf"), UploadedDocument(key, f"{key}.pdf", "ready" if twin else "received", twin))
        for number, (key, twin) in enumerate(files)
    ]
    return IngestReport(
        uploads=[UploadAccepted(operation_id="op", documents=[item for _, item in uploaded])],
        files=uploaded,
        skipped=[SkippedFile(Path("/in/pipe"), "it is not a regular file")] * skipped,
        passed_over=0,
        is_complete=is_complete,
        documents={item.id: item for item in documents},
    )


def test_all_ready_is_success() -> None:
    found = report([("a", None), ("b", None)], [document("a"), document("b")])
    assert found.exit_code == 0
    assert [(row.status, row.pages, row.chunks) for row in found.rows()] == [("ready", 2, 3)] * 2


def test_a_duplicate_of_a_ready_document_is_success_and_named() -> None:
    found = report([("a", "a")], [document("a")])
    assert found.exit_code == 0
    [row] = found.rows()
    assert (row.name, row.status, row.note) == ("a-0.pdf", "duplicate", "same content as a.pdf")


def test_the_same_bytes_twice_in_one_upload_are_ready_once() -> None:
    twin = report([("a", None), ("a", "a")], [document("a")])
    assert [row.status for row in twin.rows()] == ["ready", "duplicate"]


@pytest.mark.parametrize("status", ["failed", "cancelled", "processing", "received", "deleting"])
def test_anything_else_is_failure(status: str) -> None:
    found = report([("a", None), ("b", None)], [document("a"), document("b", status, FAILURE)])
    assert found.exit_code == 1
    assert [row.status for row in found.rows()] == ["ready", status]


def test_a_duplicate_of_a_failed_document_is_failure() -> None:
    assert report([("a", "a")], [document("a", "failed", FAILURE)]).exit_code == 1


def test_a_skipped_or_deleted_file_is_failure() -> None:
    assert report([("a", None)], [document("a")], skipped=1).exit_code == 1
    assert report([("a", None)], []).exit_code == 1


def test_a_failed_attachment_is_shown_but_the_file_is_ready() -> None:
    found = report([("mail", None)], [document("mail"), document("virus", "failed", FAILURE), document("ok")])
    assert found.exit_code == 0
    assert [row.name for row in found.rows()] == ["mail-0.pdf", "virus.pdf"]


def test_without_waiting_to_be_kept_is_success() -> None:
    assert report([("a", None)], [], is_complete=False).exit_code == 0
    assert report([("a", None)], [], is_complete=False, skipped=1).exit_code == 1


def test_the_table_names_reasons_and_obeys_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    found = report([("a", None), ("b[red]", None)], [document("a"), document("b[red]", "failed", FAILURE)], skipped=1)
    show_report(found, seconds=61.4, as_json=False)
    shown = capsys.readouterr().out
    assert "no_text: The file is \ufffd[2Jempty." in shown
    assert "b[red]-1.pdf" in shown
    assert "it is not a regular file" in shown
    assert "1 ready, 1 failed, 1 skipped in 1 min 1 s" in shown
    assert "\x1b" not in shown


def test_of_many_files_only_those_to_look_at_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    keys = [f"k{number}" for number in range(100)]
    documents = [document(key) for key in keys[1:]] + [document("k0", "failed", FAILURE)]
    show_report(report([(key, None) for key in keys], documents), seconds=1, as_json=False)
    shown = capsys.readouterr().out
    assert len(shown.splitlines()) == 3
    assert "99 ready" in shown
