"""Searches while documents are ingested against the same server idle, by turns, and how late its event loop gets."""

import itertools
import time
from collections.abc import Iterator

import numpy as np

from benchmarks.library import CHUNKS, open_library
from benchmarks.product import Product
from benchmarks.rows import Row, run_as_command
from benchmarks.source_files import mixed_documents
from benchmarks.texts import questions

ROUNDS = 3
SEARCHES = 60
PAUSE_SECONDS = 0.05
DOCUMENTS = 40
PAGES = 8
SETTLE_SECONDS = 3.0
CANCEL_SECONDS = 120.0
MAX_RATIO, MAX_LAG_SECONDS = 2.0, 0.1


def run(limit: int | None = None) -> list[Row]:
    """Ask `limit` new questions in each phase, three phases each way."""
    count = limit or SEARCHES
    idle: list[float] = []
    loaded: list[float] = []
    lag: dict[float, float] = {}
    fresh = questions()
    with open_library(CHUNKS if limit is None else min(limit * 10, CHUNKS)) as product:
        ask(product, fresh, 20)
        for number in range(ROUNDS):
            idle += ask(product, fresh, count)
            operations = product.upload(mixed_documents(DOCUMENTS, PAGES, seed=100 + number))
            time.sleep(SETTLE_SECONDS)
            before = product.loop_lag_buckets()
            loaded += ask(product, fresh, count)
            _add_difference(lag, before, product.loop_lag_buckets())
            still_running = _stop(product, operations)
            if not still_running:
                raise RuntimeError("the ingest ended before the searches did; it must be larger")
    return [_search_row(idle, loaded), lag_row(lag)]


def lag_row(lag: dict[float, float]) -> Row:
    """The histogram knows a bound, not the value: the 99th percentile is at most this."""
    total = lag[float("inf")]
    p99 = next(bound for bound in sorted(lag) if lag[bound] >= 0.99 * total)
    within = sum(lag[bound] for bound in lag if bound == MAX_LAG_SECONDS) / total
    note = f"upper bound of the bucket that holds p99; {100 * within:.2f} % of {total:.0f} probes within 100 ms"
    name = "event-loop lag p99 while ingesting"
    return Row(name, p99 * 1000, "ms", None, None, "< 100 ms", p99 <= MAX_LAG_SECONDS, note)


def ask(product: Product, fresh: Iterator[str], count: int) -> list[float]:
    """Seconds of so many new searches, with a pause after each. Raises `RuntimeError` when one finds nothing."""
    latencies = []
    for question in itertools.islice(fresh, count):
        started = time.perf_counter()
        found = product.search(question)
        latencies.append(time.perf_counter() - started)
        if not found["hits"] or found["warnings"]:
            raise RuntimeError(f"a search found {len(found['hits'])} passages: {found['warnings']}")
        time.sleep(PAUSE_SECONDS)
    return latencies


def _stop(product: Product, operations: list[str]) -> bool:
    """Delete what is being ingested and wait until the server is quiet; whether the ingest was still going on."""
    running = any(product.get(f"/api/v1/operations/{key}")["state"] in ("queued", "running") for key in operations)
    unfinished = [item["id"] for item in product.documents() if item["status"] in ("received", "processing")]
    deletes = [product.delete(f"/api/v1/documents/{key}")["operation_id"] for key in unfinished]
    product.wait([*operations, *deletes], CANCEL_SECONDS)
    time.sleep(SETTLE_SECONDS)
    return running


def _add_difference(total: dict[float, float], before: dict[float, float], after: dict[float, float]) -> None:
    for bound, count in after.items():
        total[bound] = total.get(bound, 0.0) + count - before[bound]


def _search_row(idle: list[float], loaded: list[float]) -> Row:
    value, reference = (float(np.percentile(values, 95)) * 1000 for values in (loaded, idle))
    medians = [float(np.median(values)) * 1000 for values in (loaded, idle)]
    note = f"{len(loaded)} new questions each way; p50 {medians[0]:.0f} and {medians[1]:.0f} ms"
    ratio = value / reference
    name = "hybrid search p95 while ingesting"
    return Row(name, value, "ms", reference, ratio, f"<= {MAX_RATIO:.0f}x idle", ratio <= MAX_RATIO, note)


if __name__ == "__main__":
    run_as_command(run, __doc__, "questions in each phase")
