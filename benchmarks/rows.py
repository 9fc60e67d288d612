"""The one shape of a benchmark's result, so that all of them fit in one table and one JSON file."""

import argparse
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

FILE_WIDTH = 180  # columns where the output is no terminal


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


def run_as_command(run: Callable[[int | None], list[Row]], description: str | None, limit: str) -> None:
    """Serve as `python -m benchmarks.<name> [--limit N] [--json FILE]`; `limit` says what N counts."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--limit", type=int, help=limit)
    parser.add_argument("--json", type=Path, help="also write the rows to this file")
    arguments = parser.parse_args()
    rows = run(arguments.limit)
    print_table(rows)
    if arguments.json:
        write_json(rows, arguments.json)


def print_table(rows: Sequence[Row]) -> None:
    """Print one line for each row."""
    table = Table("bench", "value", "unit", "reference", "ratio", "target", "met", "note")
    for row in rows:
        verdict = {True: "yes", False: "NO", None: ""}[row.met]
        table.add_row(
            row.bench,
            number(row.value),
            row.unit,
            number(row.reference),
            number(row.ratio),
            row.target,
            verdict,
            row.note,
        )
    console = Console()
    if not console.is_terminal:
        console = Console(width=FILE_WIDTH)
    console.print(table)


def write_json(rows: Sequence[Row], path: Path) -> None:
    """Write the rows as a JSON list of objects."""
    path.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n", encoding="utf-8")


def number(value: float | None) -> str:
    """Four significant figures, nothing for None."""
    if value is None:
        return ""
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.4g}"
