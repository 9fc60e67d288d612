"""Searches while the whole library is indexed anew against the same server idle; and how long the way back takes."""

import time

import numpy as np

from benchmarks.library import CHUNKS, open_library
from benchmarks.load import SETTLE_SECONDS, ask
from benchmarks.product import Product
from benchmarks.rows import Row, run_as_command
from benchmarks.texts import questions

ROUNDS = 3
SEARCHES = 60
MAX_RATIO, MAX_ACTIVATE_SECONDS = 1.5, 1.0
MIN_SAME_HITS = 8  # of ten: one of the two indexes may have a trained vector index, the other none yet


def run(limit: int | None = None) -> list[Row]:
    """Ask `limit` new questions in each phase, three phases each way."""
    count = limit or SEARCHES
    idle: list[float] = []
    loaded: list[float] = []
    fresh = questions()
    with open_library(CHUNKS if limit is None else min(limit * 10, CHUNKS)) as product:
        ask(product, fresh, 20)
        for number in range(ROUNDS):
            idle += ask(product, fresh, count)
            operation_id = _reindex(product, max_tokens=150 - number)
            time.sleep(SETTLE_SECONDS)
            loaded += ask(product, fresh, count)
            if product.get(f"/api/v1/operations/{operation_id}")["state"] != "running":
                raise RuntimeError("the reindexing ended before the searches did; the library must be larger")
            product.post(f"/api/v1/operations/{operation_id}/cancel")
            time.sleep(SETTLE_SECONDS)
        return [_search_row(idle, loaded), _activate_row(product)]


def _reindex(product: Product, **chunking: int) -> str:
    accepted = product.post("/api/v1/collections/default/reindex", {"chunking": chunking})
    return str(accepted["operation_id"])


def _search_row(idle: list[float], loaded: list[float]) -> Row:
    value, reference = (float(np.percentile(values, 95)) * 1000 for values in (loaded, idle))
    medians = [float(np.median(values)) * 1000 for values in (loaded, idle)]
    note = f"{len(loaded)} new questions each way, none without hits; p50 {medians[0]:.0f} and {medians[1]:.0f} ms"
    ratio = value / reference
    name = "hybrid search p95 while reindexing"
    return Row(name, value, "ms", reference, ratio, f"<= {MAX_RATIO}x idle", ratio <= MAX_RATIO, note)


def _activate_row(product: Product) -> Row:
    """The library indexed anew as it is, which computes nothing, then back: from the call to the first hit."""
    before = product.get("/api/v1/collections/default")["active_index_id"]
    product.wait([_reindex(product)], 1800.0)
    found = product.search("protein")["hits"]
    started = time.perf_counter()
    product.post(f"/api/v1/collections/default/indexes/{before}/activate")
    again = product.search("protein")["hits"]
    seconds = time.perf_counter() - started
    same = len({hit["text"] for hit in found} & {hit["text"] for hit in again})
    note = f"activate and the next search; {same} of {len(found)} hits are those of the other index"
    met = same >= MIN_SAME_HITS and seconds <= MAX_ACTIVATE_SECONDS
    return Row("back to the index before", seconds * 1000, "ms", None, None, "<= 1000 ms", met, note)


if __name__ == "__main__":
    run_as_command(run, __doc__, "questions in each phase")
