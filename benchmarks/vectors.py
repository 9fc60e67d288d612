"""Dense search at 100,000 chunks of real text against numpy brute force in memory, in turns of ten queries in one run.

Not query by query: the threads of numpy's BLAS spin for a while after each product and slow whoever comes next; each
turn therefore starts with one query that is not counted, on both sides.
"""

import argparse
import asyncio
import tempfile
import time
from collections.abc import Iterator
from itertools import groupby, islice
from pathlib import Path
from statistics import median

import numpy as np
from numpy.typing import NDArray

from benchmarks.rows import Row, print_table, write_json
from benchmarks.vector_corpus import VectorCorpus, load_corpus, shared_data
from perplex_mono.storage.vectors import ChunkBatch, DocumentRows, VectorStore

ROWS = 100_000
TOP = 10
BLOCK = 10
DOCUMENTS_PER_COMMIT = 64
MAX_RATIO = 2.0
MIN_RECALL = 0.98


def run(limit: int | None = None) -> list[Row]:
    """Measure with at most `limit` chunks (100,000 by default); no rows where the measurement data is absent.

    The first run embeds the chunks (23 a second on a busy 2-core machine, 55 on a quieter one) into a cache in the
    system's temporary folder; a run that is stopped goes on where it was.
    """
    data = shared_data()
    if data is None:
        return []
    corpus = load_corpus(data, min(limit or ROWS, ROWS))
    with tempfile.TemporaryDirectory(prefix="perplex-vectors-") as folder:
        return asyncio.run(_measure(corpus, Path(folder)))


async def _measure(corpus: VectorCorpus, folder: Path) -> list[Row]:
    store = await VectorStore.open(folder)
    await store.create_table("bench", corpus.vectors.shape[1])
    started = time.perf_counter()
    for group in _groups(corpus):
        await store.commit_documents("bench", group)
    loading = time.perf_counter() - started
    upkeep = await store.maintain("bench")
    ours: list[float] = []
    numpys: list[float] = []
    shared = 0
    for start in range(0, len(corpus.queries), BLOCK):
        block = corpus.queries[start : start + BLOCK]
        await _search(store, block[0])
        answers = [await _search(store, query) for query in block]
        _brute_force(corpus.vectors, block[0])
        truths = [_brute_force(corpus.vectors, query) for query in block]
        ours += [seconds for _, seconds in answers]
        numpys += [seconds for _, seconds in truths]
        shared += sum(len(found & truth) for (found, _), (truth, _) in zip(answers, truths, strict=True))
    await store.close()
    recall = shared / (TOP * len(ours))
    count = len(corpus.texts)
    note = f"load {loading:.1f} s, index {upkeep.seconds:.1f} s, {upkeep.total_bytes / 2**20:.0f} MB"
    return _rows(count, 1000 * median(ours), 1000 * median(numpys), recall, note)


def _rows(count: int, ours: float, numpys: float, recall: float, note: str) -> list[Row]:
    ratio = ours / numpys
    return [
        Row(f"dense search, {count} chunks", ours, "ms", numpys, ratio, f"<= {MAX_RATIO}x", ratio <= MAX_RATIO, note),
        Row(f"recall@{TOP}, {count} chunks", recall, "", 1.0, recall, f">= {MIN_RECALL}", recall >= MIN_RECALL),
    ]


async def _search(store: VectorStore, query: NDArray[np.float32]) -> tuple[set[int], float]:
    started = time.perf_counter()
    hits = await store.search_dense("bench", query, TOP)
    return {int(hit.id) for hit in hits}, time.perf_counter() - started


def _brute_force(vectors: NDArray[np.float32], query: NDArray[np.float32]) -> tuple[set[int], float]:
    started = time.perf_counter()
    scores = vectors @ query
    best = np.argpartition(-scores, TOP)[:TOP]
    best = best[np.argsort(-scores[best])]
    return set(best.tolist()), time.perf_counter() - started


def _groups(corpus: VectorCorpus) -> Iterator[list[DocumentRows]]:
    documents = (
        _document(corpus, name, list(rows))
        for name, rows in groupby(range(len(corpus.texts)), corpus.document_ids.__getitem__)
    )
    while group := list(islice(documents, DOCUMENTS_PER_COMMIT)):
        yield group


def _document(corpus: VectorCorpus, name: str, rows: list[int]) -> DocumentRows:
    batch = ChunkBatch([str(row) for row in rows], [corpus.texts[row] for row in rows], corpus.vectors[rows])
    return DocumentRows(name, True, [batch])


def main() -> None:
    """Print the table; `--json` also writes it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--limit", type=int, help="measure with fewer chunks")
    parser.add_argument("--json", type=Path, help="also write the rows here")
    arguments = parser.parse_args()
    rows = run(arguments.limit)
    print_table(rows)
    if arguments.json:
        write_json(rows, arguments.json)


if __name__ == "__main__":
    main()
