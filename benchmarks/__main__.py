"""`python -m benchmarks`: run them one after another, each in a process of its own, print one table and write JSON."""

import argparse
import logging
import multiprocessing
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from benchmarks import report as reports
from benchmarks.registry import BENCHES, Bench, measure
from benchmarks.rows import Row, print_table


def main() -> int:
    """Run what the command line names; 1 when a benchmark broke (a target that is missed is no such failure)."""
    arguments = _parser().parse_args()
    report = reports.read_report(arguments.json)
    if arguments.write_docs:
        reports.PAGE_FILE.write_text(reports.page(report), encoding="utf-8")
        return 0
    if report is None:
        report = reports.Report({}, {})
    report.machine, report.versions = reports.this_machine(), reports.these_versions()
    chosen = [bench for bench in BENCHES if not arguments.only or bench.name in arguments.only]
    for bench in chosen:
        report.benches[bench.name] = _run(bench, arguments.limit)
        reports.write_report(report, arguments.json)
    done = [report.benches[bench.name] for bench in chosen]
    print_table([row for measured in done for row in measured.rows])
    return 1 if any(measured.error for measured in done) else 0


def _run(bench: Bench, limit: int | None) -> reports.Measured:
    """Measure in a fresh process, so that no model, thread or memory of one benchmark burdens the next."""
    measured = reports.starting_now(limit)
    started = time.monotonic()
    _say(f"{bench.name} ...")
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
        try:
            measured.rows = process.submit(measure, bench.name, limit).result()
        except Exception as error:
            logging.getLogger(__name__).exception("%s broke", bench.name)
            measured.error = f"{type(error).__name__}: {error}".splitlines()[0]
    measured.seconds = round(time.monotonic() - started, 1)
    _say(f"{bench.name}: {_outcome(measured.rows, measured.error)} in {measured.seconds:.0f} s")
    return measured


def _outcome(rows: Sequence[Row], error: str | None) -> str:
    if error or not rows:
        return error or "nothing to measure with"
    missed = [row.bench for row in rows if row.met is False]
    return f"missed: {', '.join(missed)}" if missed else f"{len(rows)} figures"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    names = [bench.name for bench in BENCHES]
    counts = ", ".join(f"{bench.limit} ({bench.name})" for bench in BENCHES)
    parser.add_argument("--only", action="append", choices=names, metavar="NAME", help=f"one of {', '.join(names)}")
    parser.add_argument("--limit", type=int, metavar="N", help=f"measure on less; N counts {counts}")
    parser.add_argument("--json", type=Path, default=reports.RESULTS_FILE, help="where figures are kept, run by run")
    parser.add_argument("--write-docs", action="store_true", help="only make docs/benchmarks.md from the JSON")
    return parser


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
