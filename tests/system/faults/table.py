"""What `make faults` prints: one line for each fault, and what it cost."""

import json
import subprocess
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.report import this_machine

ROOT = Path(__file__).resolve().parents[3]
RESULTS_FILE = ROOT / "benchmarks" / "results" / "faults.json"
PAGE_FILE = ROOT / "docs" / "reliability.md"
BEGIN, END = "<!-- table of make faults -->\n", "<!-- end of the table -->\n"
HEAD = (
    "| fault | rounds | lost | duplicated | pages repeated | worst recovery | note | date |",
    "|---|---|---|---|---|---|---|---|",
)


@dataclass
class Fault:
    """One kind of fault over all rounds of a run.

    `lost` counts pages that were acknowledged and are not found, or were deleted and are; `duplicated` those found more
    than once. `repeated_pages` is how often OCR began a page again. None: the fault has no such figure.
    """

    name: str
    rounds: int = 0
    lost: int = 0
    duplicated: int = 0
    repeated_pages: int | None = None
    recovery_seconds: float | None = None
    note: str = ""
    date: str = ""
    commit: str = ""

    def recovered(self, seconds: float) -> None:
        """Note how long a recovery took; the longest counts."""
        self.recovery_seconds = max(seconds, self.recovery_seconds or 0.0)


class FaultTable:
    """The faults of this run, in the order in which they came."""

    def __init__(self) -> None:
        self._faults: dict[str, Fault] = {}
        self._latest: Fault | None = None

    def fault(self, name: str) -> Fault:
        """The line of that name; runs of different lengths share it."""
        self._latest = self._faults.setdefault(name, Fault(name))
        return self._latest

    def break_off(self) -> None:
        """The test of the line asked for last has failed: its figures are not a result."""
        if self._latest is not None:
            self._latest.note = f"FAILED; {self._latest.note}".rstrip("; ")

    def ran(self) -> list[Fault]:
        """The faults that came to at least one round."""
        return [fault for fault in self._faults.values() if fault.rounds]


def store(faults: Iterable[Fault], path: Path = RESULTS_FILE) -> list[Fault]:
    """Put the lines in the place of older ones of the same name; returns all that are stored now."""
    kept: dict[str, Fault] = {}
    if path.is_file():
        kept = {line["name"]: Fault(**line) for line in json.loads(path.read_text(encoding="utf-8"))["faults"]}
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, check=False)
    for fault in faults:
        fault.date, fault.commit = datetime.now(UTC).date().isoformat(), commit.stdout.decode().strip()
        kept[fault.name] = fault
    path.parent.mkdir(parents=True, exist_ok=True)
    written = {"machine": this_machine(), "faults": [asdict(fault) for fault in kept.values()]}
    path.write_text(json.dumps(written, indent=2) + "\n", encoding="utf-8")
    return list(kept.values())


def lines(faults: Iterable[Fault]) -> list[str]:
    """The table as Markdown."""
    return [*HEAD, *(_line(fault) for fault in faults)]


def write_page(faults: Iterable[Fault], page: Path = PAGE_FILE) -> None:
    """Put the table into the page of the documentation."""
    text = page.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN, 1)
    after = rest.split(END, 1)[1]
    machine = "Machine: " + ", ".join(f"{name} {value}" for name, value in this_machine().items()) + "."
    table = "\n".join([machine, "", *lines(faults)])
    page.write_text(f"{before}{BEGIN}\n{table}\n\n{END}{after}", encoding="utf-8")


def _line(fault: Fault) -> str:
    repeated = "" if fault.repeated_pages is None else str(fault.repeated_pages)
    recovery = "" if fault.recovery_seconds is None else f"{fault.recovery_seconds:.1f} s"
    cells = (fault.name, fault.rounds, fault.lost, fault.duplicated, repeated, recovery, fault.note, fault.date)
    return "| " + " | ".join(map(str, cells)) + " |"
