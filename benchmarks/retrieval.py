"""How well the product's own search ranks: SciFact and ADI by nDCG@10, and spans of long texts by recall@5.

Documents are uploaded as files and found over HTTP; a document ranks where its best chunk does.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean

from benchmarks.library import new_library
from benchmarks.product import Product, running_product
from benchmarks.ranking import ndcg
from benchmarks.rows import Row, run_as_command
from benchmarks.spans import span_recalls
from benchmarks.texts import Abstract, json_lines, judgements, read_abstracts, shared_folder

MODES = ("hybrid", "dense", "sparse")
HITS = 100
MIN_SCIFACT = 0.71
# Measured on whole texts (256 tokens) with all-MiniLM-L6-v2, BM25 (k1 0.9, b 0.4, English stemming), fusion k = 60.
REFERENCES = {
    "SciFact": {"hybrid": 0.711, "dense": 0.645, "sparse": 0.676},
    "ADI": {"hybrid": 0.527, "dense": 0.498, "sparse": 0.480},
}

Judgements = Mapping[str, Mapping[str, int]]
Query = tuple[str, str]


def run(limit: int | None = None) -> list[Row]:
    """Measure with `limit` abstracts, judged ones first, and the claims about them. No rows without the shared data."""
    scifact = shared_folder("retrieval", "scifact")
    if scifact is None:
        return []
    relevant = judgements(scifact / "qrels.test.tsv")
    abstracts = _judged_first(read_abstracts(scifact), relevant)[:limit]
    with new_library(abstracts) as product:
        queries = _answerable(scifact / "queries.test.jsonl", relevant, abstracts)
        hybrid, *arms = [
            _row("SciFact", mode, _mean_ndcg(product, mode, queries, relevant, "default"), len(queries))
            for mode in MODES
        ]
    note = f"{len(abstracts)} abstracts, {len(queries)} claims"
    return [_judged(hybrid, note, with_all=limit is None), *arms, *small_sets(limit)]


def small_sets(limit: int | None = None) -> list[Row]:
    """The rows of the sets that are ingested in seconds, in collections of their own."""
    with running_product() as product:
        return [*_adi(product), *span_rows(product, limit)]


def _adi(product: Product) -> list[Row]:
    folder = shared_folder("retrieval", "adi")
    if folder is None:
        return []
    collection = product.new_collection("adi")
    abstracts = read_abstracts(folder)
    product.ingest((abstract.file for abstract in abstracts), collection=collection)
    relevant = judgements(folder / "qrels.tsv")
    queries = _answerable(folder / "queries.jsonl", relevant, abstracts)
    return [_row("ADI", mode, _mean_ndcg(product, mode, queries, relevant, collection), len(queries)) for mode in MODES]


def span_rows(product: Product, limit: int | None) -> list[Row]:
    """Recall of the wanted characters by the first five hits, in each mode."""
    folder = shared_folder("qa", "chunkeval")
    if folder is None:
        return []
    collection = product.new_collection("spans")
    texts = {path.name: path.read_text(encoding="utf-8") for path in sorted((folder / "corpora").iterdir())}
    product.ingest(((name, text.encode()) for name, text in texts.items()), collection=collection)
    asked = json_lines(folder / "questions.jsonl")[:limit]
    rows = []
    for mode in MODES:
        recalls, lost = span_recalls(product, mode, collection, texts, asked)
        note = f"{len(asked)} questions" + (f"; {lost} hits not located" if lost else "")
        rows.append(Row(f"spans, {mode}", fmean(recalls), "recall@5", None, None, "", None, note))
    return rows


def _mean_ndcg(product: Product, mode: str, queries: Sequence[Query], relevant: Judgements, collection: str) -> float:
    return fmean(ndcg(_ranked(product, text, mode, collection), relevant[key]) for key, text in queries)


def _ranked(product: Product, text: str, mode: str, collection: str) -> list[str]:
    """The abstract each hit is of, best first."""
    answer = product.search(text, mode=mode, limit=HITS, collection_ids=[collection])
    if answer["mode_used"] != mode:
        raise RuntimeError(f"asked for {mode}, got {answer['mode_used']}: {answer['warnings']}")
    return [hit["document"]["name"].removesuffix(".txt") for hit in answer["hits"]]


def _judged_first(abstracts: list[Abstract], relevant: Judgements) -> list[Abstract]:
    judged = {document for grades in relevant.values() for document in grades}
    return sorted(abstracts, key=lambda abstract: abstract.id not in judged)


def _answerable(path: Path, relevant: Judgements, abstracts: Sequence[Abstract]) -> list[Query]:
    present = {abstract.id for abstract in abstracts}
    queries = [(line["id"], line["text"]) for line in json_lines(path)]
    return [(key, text) for key, text in queries if not present.isdisjoint(relevant.get(key, ()))]


def _row(name: str, mode: str, value: float, count: int) -> Row:
    reference = REFERENCES[name][mode]
    return Row(f"{name}, {mode}", value, "nDCG@10", reference, value / reference, "", None, f"{count} queries")


def _judged(row: Row, note: str, *, with_all: bool) -> Row:
    met = row.value >= MIN_SCIFACT if with_all else None
    return Row(row.bench, row.value, row.unit, row.reference, row.ratio, f">= {MIN_SCIFACT}", met, note)


if __name__ == "__main__":
    run_as_command(run, __doc__, "abstracts of SciFact, and questions about spans")
