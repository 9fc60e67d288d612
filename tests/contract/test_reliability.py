"""docs/reliability.md cannot lie: every test it names exists, and every kind of fault is in it."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
NAMED = re.findall(r"\[`(test_\w+)`\]\(\.\./(tests/[\w/]+\.py)\)", PAGE)


@pytest.mark.parametrize(("name", "file"), NAMED)
def test_every_named_test_exists(name: str, file: str) -> None:
    assert re.search(rf"^(async )?def {name}\(", (ROOT / file).read_text(encoding="utf-8"), flags=re.MULTILINE)


def test_every_promise_names_a_proof() -> None:
    section = PAGE.split("## What is promised", 1)[1].split("\n## ", 1)[0]
    promises = [line for line in section.splitlines() if line.startswith("| ") and "| proof |" not in line]
    assert len(promises) > 10
    assert [line for line in promises if "](../tests/" not in line] == []


def test_every_file_of_fault_tests_proves_a_promise() -> None:
    files = {path.relative_to(ROOT).as_posix() for path in (ROOT / "tests/system/faults").glob("test_*.py")}
    assert files - {file for _, file in NAMED} == set()
