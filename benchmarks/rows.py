"""The one shape of a benchmark's result, so that all of them fit in one table and one JSON file."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True)
class Row:
    """One measured figure. `ratio` is value to reference, both taken in one run; `met` is None when not judged."""

    bench: str
    value: float
    unit: str
    reference: float | None
    ratio: float | None
    target: str
    met: bool | None
    note: str = ""


def print_table(rows: Sequence[Row]) -> None:
    """Print one line for each row."""
    table = Table("bench", "value", "unit", "reference", "ratio", "target", "met", "note")
    for row in rows:
        verdict = {True: "yes", False: "NO", None: ""}[row.met]
        table.add_row(
            row.bench,
            f"{row.value:.4g}",
            row.unit,
            _number(row.reference),
            _number(row.ratio),
            row.target,
            verdict,
            row.note,
        )
    Console().print(table)


def write_json(rows: Sequence[Row], path: Path) -> None:
    """Write the rows as a JSON list of objects."""
    path.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n", encoding="utf-8")


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"
