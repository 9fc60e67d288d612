"""`make soak`: an hour of uploads, deletes, searches and sockets; does the product grow while nothing in it does?

Every document is deleted again once twenty newer ones are there, so what is left must stay the same. The slope is that
of a straight line through the samples after the warm-up, by least squares.
"""

import argparse
import json
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import psutil
from websockets.sync.client import connect

from benchmarks.process_memory import tree_bytes
from benchmarks.product import Product, running_product
from benchmarks.report import ROOT
from benchmarks.texts import questions
from tests.system.faults.samples import mixed

RESULTS_FILE = ROOT / "benchmarks" / "results" / "soak.json"
WARM_UP_SHARE = 0.25
SAMPLE_SECONDS = 10.0
UPLOAD_SECONDS = 5.0
PAGES = 4
KEPT = 20
SEARCH_CLIENTS = 2
SEARCH_PAUSE_SECONDS = 0.25
SOCKET_SECONDS = 3.0
SOCKETS = 5
INGEST_SECONDS = 300.0

Work = Callable[[Product, threading.Event], None]


@dataclass(frozen=True)
class Moment:
    """What the family of processes held at one moment since the start."""

    seconds: float
    memory_bytes: int
    handles: int
    threads: int
    processes: int


@dataclass(frozen=True)
class Slope:
    """How one figure went after the warm-up: first and last by the fitted line, and the slope an hour."""

    name: str
    first: float
    last: float
    per_hour: float


def main() -> int:
    """Run, print the slopes, write the samples; 1 when something did not answer as it should."""
    arguments = _parser().parse_args()
    with running_product() as product:
        failures, samples = _soak(product, arguments.minutes * 60)
    slopes = [*fitted(samples)]
    for slope in slopes:
        sys.stdout.write(
            f"{slope.name:>10}  {slope.first:10.1f} -> {slope.last:10.1f}  {slope.per_hour:+.2f} an hour\n"
        )
    sys.stdout.write(f"{len(samples)} samples in {arguments.minutes:g} minutes, {len(failures)} failures\n")
    for failure in failures[:10]:
        sys.stdout.write(f"  {failure}\n")
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    stored = {"slopes": [asdict(slope) for slope in slopes], "samples": [asdict(sample) for sample in samples]}
    arguments.json.write_text(json.dumps(stored, indent=1) + "\n", encoding="utf-8")
    return 1 if failures else 0


def fitted(samples: Sequence[Moment]) -> Iterator[Slope]:
    """The slopes of memory (megabytes), handles and threads, without the warm-up."""
    settled = [sample for sample in samples if sample.seconds >= WARM_UP_SHARE * samples[-1].seconds]
    hours = np.array([sample.seconds for sample in settled]) / 3600
    for name, values in (
        ("memory MB", [sample.memory_bytes / 1e6 for sample in settled]),
        ("handles", [float(sample.handles) for sample in settled]),
        ("threads", [float(sample.threads) for sample in settled]),
        ("processes", [float(sample.processes) for sample in settled]),
    ):
        slope, start = np.polyfit(hours, values, 1) if len(settled) > 1 else (0.0, values[0])
        yield Slope(name, float(start + slope * hours[0]), float(start + slope * hours[-1]), float(slope))


def _soak(product: Product, seconds: float) -> tuple[list[str], list[Moment]]:
    over, failures, samples = threading.Event(), list[str](), list[Moment]()
    work: list[Work] = [_ingest, _hold_sockets, *[_search] * SEARCH_CLIENTS]
    threads = [threading.Thread(target=_guarded, args=(each, product, over, failures)) for each in work]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    while (passed := time.monotonic() - began) < seconds and not failures:
        samples.append(_moment(product.server.pid, passed))
        over.wait(SAMPLE_SECONDS)
    over.set()
    for thread in threads:
        thread.join()
    return failures, samples


def _guarded(work: Work, product: Product, over: threading.Event, failures: list[str]) -> None:
    try:
        work(product, over)
    except Exception as error:
        failures.append(f"{work.__name__}: {type(error).__name__}: {error}")


def _ingest(product: Product, over: threading.Event) -> None:
    """Text and scans by turns; as many documents are deleted as come, once there are enough."""
    here: deque[str] = deque()
    for sample in mixed(PAGES):
        if over.wait(UPLOAD_SECONDS):
            return
        (accepted,) = product.uploads([(sample.name, sample.content)])
        product.wait([accepted["operation_id"]], INGEST_SECONDS)
        here.append(accepted["documents"][0]["id"])
        if len(here) > KEPT:
            product.wait([product.delete(f"/api/v1/documents/{here.popleft()}")["operation_id"]], INGEST_SECONDS)


def _search(product: Product, over: threading.Event) -> None:
    for question in questions():
        product.search(question)
        if over.wait(SEARCH_PAUSE_SECONDS):
            return


def _hold_sockets(product: Product, over: threading.Event) -> None:
    """A few feeds at a time, each closed after a while and opened anew."""
    address = f"ws://127.0.0.1:{product.server.port}/ws/operations"
    while not over.is_set():
        with ExitStack() as stack:
            for _ in range(SOCKETS):
                stack.enter_context(connect(address))
            over.wait(SOCKET_SECONDS)


def _moment(pid: int, seconds: float) -> Moment:
    root = psutil.Process(pid)
    family = [root, *root.children(recursive=True)]
    return Moment(seconds, tree_bytes(pid), root.num_fds(), root.num_threads(), len(family))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0, help="how long (default: 60)")
    parser.add_argument("--json", type=Path, default=RESULTS_FILE, help="where the samples go")
    return parser


if __name__ == "__main__":
    sys.exit(main())
