"""Every benchmark of the table can be run, and what it found survives the JSON and reaches the page."""

import inspect
from pathlib import Path

import pytest

from benchmarks import report as reports
from benchmarks.registry import BENCHES, Bench
from benchmarks.report import Measured, Report, page, read_report, write_report
from benchmarks.rows import Row

FOLDER = Path(reports.__file__).parent
NOT_IN_THE_TABLE = {"chunking"}  # the figures behind a decision, by its own command


@pytest.mark.parametrize("bench", BENCHES, ids=lambda bench: bench.name)
def test_each_bench_is_importable_and_takes_a_limit(bench: Bench) -> None:
    first = next(iter(inspect.signature(bench.load()).parameters.values()))
    assert first.name == "limit"
    assert first.default is None


def test_every_module_that_measures_is_in_the_table() -> None:
    measuring = {
        path.stem for path in FOLDER.glob("*.py") if "\ndef run(limit: int | None = None" in path.read_text("utf-8")
    }
    assert measuring - NOT_IN_THE_TABLE == {bench.name for bench in BENCHES}


def test_a_report_survives_its_file_and_its_page_says_what_was_missed(tmp_path: Path) -> None:
    row = Row("speed", 12.5, "texts/s", 10.0, 1.25, ">= 1.6x", False, "a | b")
    measured = Measured("2026-01-01T00:00:00+00:00", "abc1234", 3, 0.5, 9.0, [row])
    broken = Measured("2026-01-01T00:00:00+00:00", "abc1234", None, 0.5, 1.0, [], "RuntimeError: it broke")
    report = Report({"python": "3"}, {"torch": "2"}, {"embedding": measured, "memory": broken})
    write_report(report, tmp_path / "results" / "latest.json")
    assert read_report(tmp_path / "results" / "latest.json") == report
    text = page(report)
    assert "| embedding | speed | 12.5 texts/s | 10 texts/s | 1.25 | >= 1.6x | **no** | a / b |" in text
    assert "failed: RuntimeError: it broke" in text
    assert "| ocr | | | | | | | not measured yet |" in text


def test_the_first_run_starts_from_nothing(tmp_path: Path) -> None:
    assert read_report(tmp_path / "absent.json") is None
    assert "## How each is measured" in page(None)
