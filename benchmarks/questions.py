"""A question that was asked before against the same one asked for the first time, through the HTTP search."""

import itertools
import time
from statistics import median

from benchmarks.library import CHUNKS, open_library
from benchmarks.product import Product
from benchmarks.rows import Row, run_as_command
from benchmarks.texts import questions

QUESTIONS = 100
WARM_UP = 10
MIN_RATIO = 2.0


def run(limit: int | None = None) -> list[Row]:
    """Ask `limit` questions, each twice in a row."""
    count = limit or QUESTIONS
    new: list[float] = []
    repeated: list[float] = []
    with open_library(CHUNKS if limit is None else min(limit * 10, CHUNKS)) as product:
        chunks = product.chunk_count()
        for number, question in enumerate(itertools.islice(questions(), WARM_UP + count)):
            first, second = _timed(product, question), _timed(product, question)
            if number >= WARM_UP:
                new.append(first)
                repeated.append(second)
    value, reference = median(repeated) * 1000, median(new) * 1000
    faster = reference / value
    note = f"{count} questions, {chunks} chunks, medians; ratio is how many times faster"
    return [
        Row("repeated query", value, "ms", reference, faster, f">= {MIN_RATIO:.0f}x faster", faster >= MIN_RATIO, note)
    ]


def _timed(product: Product, question: str) -> float:
    started = time.perf_counter()
    product.search(question)
    return time.perf_counter() - started


if __name__ == "__main__":
    run_as_command(run, __doc__, "questions")
