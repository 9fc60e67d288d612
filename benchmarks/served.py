"""Sixteen clients at once over ten thousand chunks: reads, repeated and new searches, and what it all costs."""

import itertools

import numpy as np

from benchmarks.http_load import Kind, Outcome, Plan, generate_load, get, port_of, post
from benchmarks.library import CHUNKS, open_library
from benchmarks.product import Product
from benchmarks.rows import Row, run_as_command
from benchmarks.texts import questions

CLIENTS = 16
SECONDS = 20.0
SHARES = {"reads": 0.70, "repeated searches": 0.25, "new searches": 0.05}
REPEATED_QUERIES = 20
NEW_QUERIES = 4000  # more than the run can ask, so that none is asked twice
DOCUMENTS_READ = 200
MIN_PER_SECOND, MAX_P95_MS, MAX_ERROR_SHARE, MAX_BYTES = 200.0, 500.0, 0.01, 2_000_000_000
SEARCH = "/api/v1/search"


def run(limit: int | None = None) -> list[Row]:
    """Measure over a library of `limit` chunks."""
    with open_library(limit or CHUNKS) as product:
        chunks = product.chunk_count()
        plan = Plan(port_of(product.server.url), CLIENTS, SECONDS, _kinds(product))
        for question in plan.kinds[1].requests:
            product.http.post(
                SEARCH, content=question.split("\r\n\r\n", 1)[1], headers={"Content-Type": "application/json"}
            )
        with product.peak_memory() as memory:
            outcome = generate_load(plan)
    return _rows(outcome, memory.bytes, f"{CLIENTS} clients, {chunks} chunks")


def _kinds(product: Product) -> list[Kind]:
    asked = questions()
    repeated = [post(SEARCH, {"query": text}) for text in itertools.islice(asked, REPEATED_QUERIES)]
    new = [post(SEARCH, {"query": text}) for text in itertools.islice(asked, NEW_QUERIES)]
    requests = {"reads": _reads(product), "repeated searches": repeated, "new searches": new}
    return [Kind(name, share, requests[name]) for name, share in SHARES.items()]


def _reads(product: Product) -> list[str]:
    """Documents, their first pages, lists of them, and operations, by turns."""
    documents = list(itertools.islice(product.documents(), DOCUMENTS_READ))
    operations = product.get("/api/v1/operations")["items"]
    return [
        get(path)
        for document, operation in zip(documents, itertools.cycle(operations), strict=False)
        for path in (
            f"/api/v1/documents/{document['id']}",
            f"/api/v1/documents/{document['id']}/pages/1",
            "/api/v1/collections/default/documents?limit=20",
            f"/api/v1/operations/{operation['id']}",
        )
    ]


def _rows(outcome: Outcome, peak_bytes: int, note: str) -> list[Row]:
    rate = outcome.per_second
    p95 = percentile_ms(outcome.all_latencies(), 95)
    errors = outcome.errors / max(1, outcome.errors + outcome.requests)
    rows = [
        Row(
            "served requests", rate, "requests/s", None, None, f">= {MIN_PER_SECOND:.0f}", rate >= MIN_PER_SECOND, note
        ),
        Row("served p95", p95, "ms", None, None, f"<= {MAX_P95_MS:.0f} ms", p95 <= MAX_P95_MS),
        Row("served errors", 100 * errors, "%", None, None, "< 1 %", errors < MAX_ERROR_SHARE),
        Row(
            "served memory",
            peak_bytes / 1e6,
            "MB",
            None,
            None,
            "< 2000 MB",
            peak_bytes < MAX_BYTES,
            "process tree, PSS",
        ),
    ]
    for name, latencies in outcome.latencies.items():
        p50, p95 = percentile_ms(latencies, 50), percentile_ms(latencies, 95)
        rows.append(Row(f"served p95, {name}", p95, "ms", None, None, "", None, f"{len(latencies)}, p50 {p50:.1f} ms"))
    return rows


def percentile_ms(seconds: list[float], percent: float) -> float:
    """A percentile in milliseconds."""
    return float(np.percentile(seconds, percent)) * 1000 if seconds else float("nan")


if __name__ == "__main__":
    run_as_command(run, __doc__, "chunks in the library")
