"""The list of followed folders tells what became of their last scans."""

from datetime import UTC, datetime

import pytest
from rich.console import Console

from perplex_mono.cli.sources import _table
from perplex_mono.operations.schemas import ErrorView
from perplex_mono.sources.schemas import LastScan, SourceView

AT = datetime(2024, 1, 1, tzinfo=UTC)


def shown(last_scan: LastScan | None) -> str:
    source = SourceView(
        id="s1",
        collection_id="c1",
        directory="/srv/papers",
        include=[],
        exclude=[],
        recursive=True,
        watch=True,
        file_count=3,
        skipped_count=1,
        failed_count=2,
        created_at=AT,
        scanned_at=AT,
        last_scan=last_scan,
    )
    console = Console(width=200)
    with console.capture() as capture:
        console.print(_table([source]))
    heading, row = capture.get().splitlines()
    assert heading.split()[:5] == ["Source", "Folder", "Files", "Skipped", "Failed"]
    assert row.split()[:5] == ["s1", "/srv/papers", "3", "1", "2"]
    return row


@pytest.mark.parametrize(
    ("state", "word"), [("completed", "ok"), ("running", "scanning"), ("queued", "waiting"), ("cancelled", "cancelled")]
)
def test_the_state_of_the_last_scan_is_a_word(state: str, word: str) -> None:
    assert shown(LastScan("o1", state, None, None)).split()[-1] == word


@pytest.mark.parametrize("state", ["failed", "dead"])
def test_a_failed_scan_says_why(state: str) -> None:
    error = ErrorView("Unavailable", "The folder '/srv/papers' is not available: No such file or directory")
    assert error.message in shown(LastScan("o1", state, AT, error))


def test_a_source_that_was_never_scanned_has_no_state() -> None:
    assert shown(None).rstrip().endswith("00:00")
