"""What was measured, on what, when: the JSON of a run, and the page of the documentation made from it."""

import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

from benchmarks.registry import BENCHES
from benchmarks.rows import Row, number
from perplex_mono.inference.memory import usable_cores

ROOT = Path(__file__).resolve().parents[1]
RESULTS_FILE = ROOT / "benchmarks" / "results" / "latest.json"
PAGE_FILE = ROOT / "docs" / "benchmarks.md"
PACKAGES = ("litestar", "granian", "lancedb", "torch", "sentence-transformers", "onnxruntime", "rapidocr", "pypdfium2")
PAGE_HEAD = """# Benchmarks

`make bench` prints this table and writes `benchmarks/results/latest.json`; `python -m benchmarks --write-docs` makes
this page from it. `make bench ARGS="--only health --limit 2"` runs one of them on less, and keeps the others' figures.

Every ratio is value to reference, both taken in one run on one machine, by turns where noise matters. Figures that are
not ratios (requests/s, milliseconds) are for the machine named here and for nothing else.
"""


@dataclass
class Measured:
    """One benchmark's last run: its rows, or why there are none."""

    date: str
    commit: str
    limit: int | None
    load_average_before: float
    seconds: float = 0.0
    rows: list[Row] = field(default_factory=list)
    error: str | None = None


@dataclass
class Report:
    """The last run of each benchmark, by name, and the machine they ran on."""

    machine: dict[str, str]
    versions: dict[str, str]
    benches: dict[str, Measured] = field(default_factory=dict)

    def rows(self) -> list[Row]:
        """All rows in the order of the table."""
        return [row for bench in BENCHES if bench.name in self.benches for row in self.benches[bench.name].rows]


def this_machine() -> dict[str, str]:
    """What a reader needs to compare figures."""
    memory_gb = psutil.virtual_memory().total / 2**30
    return {
        "processor": f"{_processor()}, {usable_cores()} cores usable",
        "memory": f"{memory_gb:.0f} GB",
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }


def these_versions() -> dict[str, str]:
    """The product's version and those of what it stands on."""
    return {name: version(name) for name in ("perplex-mono", *PACKAGES)}


def starting_now(limit: int | None) -> Measured:
    """The frame of a run that begins now."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return Measured(now, _commit(), limit, round(os.getloadavg()[0], 2))


def read_report(path: Path) -> Report | None:
    """The report of a file; None where there is none."""
    if not path.is_file():
        return None
    stored: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    benches = {
        name: Measured(**{**measured, "rows": [Row(**row) for row in measured["rows"]]})
        for name, measured in stored["benches"].items()
    }
    return Report(stored["machine"], stored["versions"], benches)


def write_report(report: Report, path: Path) -> None:
    """Write the report as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(asdict(report), indent=2) + "\n", encoding="utf-8")


def page(report: Report | None) -> str:
    """The page of the documentation; without a report, everything but the figures."""
    lines = [PAGE_HEAD]
    if report is not None:
        lines += [*_machine_lines(report), "", *_table_lines(report), ""]
    lines += ["## How each is measured", "", *(f"- **{bench.name}**: {bench.method}" for bench in BENCHES), ""]
    return "\n".join(lines)


def _machine_lines(report: Report) -> Iterator[str]:
    yield "Machine: " + ", ".join(f"{name} {value}" for name, value in report.machine.items()) + "."
    yield "Versions: " + ", ".join(f"{name} {value}" for name, value in report.versions.items()) + "."


def _table_lines(report: Report) -> Iterator[str]:
    yield "| benchmark | what | value | reference | ratio | target | reached | note |"
    yield "|---|---|---|---|---|---|---|---|"
    for bench in BENCHES:
        measured = report.benches.get(bench.name)
        if measured is None:
            yield f"| {bench.name} | | | | | | | not measured yet |"
            continue
        for row in measured.rows:
            verdict = {True: "yes", False: "**no**", None: ""}[row.met]
            reference = f"{number(row.reference)} {row.unit}" if row.reference is not None else ""
            cells = (bench.name, row.bench, f"{number(row.value)} {row.unit}", reference, number(row.ratio))
            yield "| " + " | ".join((*cells, row.target, verdict, row.note.replace("|", "/"))) + " |"
        if measured.error:
            yield f"| {bench.name} | | | | | | **no** | failed: {measured.error.replace('|', '/')} |"
    yield ""
    yield "| benchmark | date | commit | minutes | load before | limited to |"
    yield "|---|---|---|---|---|---|"
    for bench in BENCHES:
        if measured := report.benches.get(bench.name):
            minutes = f"{measured.seconds / 60:.1f}"
            limit = "" if measured.limit is None else f"{measured.limit} {bench.limit}"
            when = (measured.date, measured.commit, minutes, str(measured.load_average_before), limit)
            yield f"| {bench.name} | " + " | ".join(when) + " |"


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or sys.platform


def _commit() -> str:
    asked = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, check=False)
    return asked.stdout.decode().strip() or "unknown"
