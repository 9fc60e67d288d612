"""The table of attacks in docs/security.md: its numbers, and when and where all of them were last held off."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.report import this_machine

ROOT = Path(__file__).resolve().parents[3]
PAGE_FILE = ROOT / "docs" / "security.md"
BEGIN, END = "<!-- last run of the attacks -->\n", "<!-- end of the last run -->\n"
_ROW = re.compile(
    r"^\| (A\d\d) \| ([^|]+) \| ([^|]+) \| \[`(test_\w+)`\]\(\.\./(tests/system/attacks/\w+\.py)\) \|$", re.MULTILINE
)


def number_of(test_name: str) -> str | None:
    """`A07` of `test_a07_...`; None for tests that are no attack."""
    found = re.match(r"test_a(\d\d)_", test_name)
    return f"A{found.group(1)}" if found else None


def rows(page: str) -> list[tuple[str, str, str, str, str]]:
    """Number, attack, safe result, test and its file of each line of the table."""
    return _ROW.findall(page)


def write_page(held: Mapping[str, bool], page: Path = PAGE_FILE) -> None:
    """Put machine, date and result of a run into the page of the documentation."""
    text = page.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN, 1)
    after = rest.split(END, 1)[1]
    machine = ", ".join(f"{name} {value}" for name, value in this_machine().items())
    date = datetime.now(UTC).date().isoformat()
    broken = ", ".join(number for number, is_held in sorted(held.items()) if not is_held)
    result = f"{sum(held.values())} of {len(held)} attacks held off" + (f"; NOT: {broken}" if broken else "")
    page.write_text(f"{before}{BEGIN}\n{date}: {result}. Machine: {machine}.\n\n{END}{after}", encoding="utf-8")
