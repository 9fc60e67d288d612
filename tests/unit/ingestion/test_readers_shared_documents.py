"""Real files of many kinds end in the right state with a phrase known to be inside. Skipped without the shared data."""

import csv
import os
import re
import shutil
from pathlib import Path

import pytest

from perplex_mono.errors import DocumentFailure
from tests.unit.ingestion import reader_files as make

DOCUMENTS = Path(os.environ.get("PERPLEX_SHARED_DATA", "../shared/data")) / "documents"
READ_ELSEWHERE = {"pdf", "png", "jpg", "jpeg", "tiff", "webp", "bmp", "gif"}


def manifest() -> list[dict[str, str]]:
    table = DOCUMENTS / "manifest.csv"
    if not table.exists():
        return []
    with table.open(newline="", encoding="utf-8") as file:
        return [row for row in csv.DictReader(file) if row["kind"] not in READ_ELSEWHERE]


def plain(text: str) -> str:
    """Letters and figures as one line: case, spacing, table bars and list marks do not count."""
    return re.sub(r"[\s|*_#`>\\-]+", " ", text).casefold().strip()


@pytest.mark.skipif(not manifest(), reason="no shared documents (PERPLEX_SHARED_DATA or ../shared/data)")
@pytest.mark.parametrize("row", manifest(), ids=lambda row: Path(row["path"]).name[:60])
def test_real_files_end_in_the_right_state(tmp_path: Path, row: dict[str, str]) -> None:
    path = Path(shutil.copy(DOCUMENTS / row["path"], tmp_path))
    state, text = "text", ""
    try:
        text = " ".join(page.text for page in make.pages_of(path))
    except DocumentFailure as failure:
        state = failure.code
    assert state == row["expected"]
    assert plain(row["phrase"]) in plain(text)
