"""The embedding engine against `SentenceTransformer.encode(batch_size=32)`, and questions while a library is embedded.

Run with `python -m benchmarks.embedding [--limit N] [--json FILE]`. Every ratio is taken in one run, the two sides by
turns, medians of the rounds.
"""

import argparse
import asyncio
import json
import os
import random
import statistics
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import numpy as np

from benchmarks.rows import Row, print_table, write_json
from perplex_mono.inference.embedder import Vectors
from perplex_mono.inference.engine import TorchEmbedder
from perplex_mono.inference.loading import open_embedder
from perplex_mono.inference.model_location import find_model

DEFAULT_TEXTS = 160
ROUNDS = 3
QUERIES = 30
QUERY_GAP_SECONDS = 0.05


def run(limit: int | None = None) -> list[Row]:
    """Return the rows of this benchmark, measured on `limit` texts."""
    return asyncio.run(_measure(limit or DEFAULT_TEXTS))


async def _measure(limit: int) -> list[Row]:
    texts = mixed_texts(limit)
    embedder = open_embedder(device="cpu")
    await embedder.start()
    await embedder.embed_query("Warm up.")
    try:
        return [
            *await _throughput(embedder, texts),
            *await _queries_under_load(embedder, texts),
            await _repeated_query(embedder),
        ]
    finally:
        await embedder.close()


async def _throughput(embedder: TorchEmbedder, texts: list[str]) -> list[Row]:
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(find_model("bundled")), device="cpu")

    async def reference() -> Vectors:
        vectors = await asyncio.to_thread(model.encode, texts, batch_size=32, normalize_embeddings=True)
        return np.asarray(vectors, dtype=np.float32)

    async def engine() -> Vectors:
        return await embedder.embed_documents(texts)

    await asyncio.sleep(2.1)  # or the engine would still keep its batches small for the warm-up question
    ours: list[float] = []
    theirs: list[float] = []
    cosine = 1.0
    for _ in range(ROUNDS):
        seconds, expected = await _timed(reference)
        theirs.append(len(texts) / seconds)
        seconds, vectors = await _timed(engine)
        ours.append(len(texts) / seconds)
        cosine = min(cosine, float((vectors * expected).sum(axis=1).min()))
    value, base = statistics.median(ours), statistics.median(theirs)
    ratio = value / base
    note = f"{len(texts)} texts, lowest cosine {cosine:.7f}"
    target = ">= 1.6x, cosine >= 0.9999"
    return [Row("embedding throughput", value, "texts/s", base, ratio, target, ratio >= 1.6 and cosine >= 0.9999, note)]


async def _queries_under_load(embedder: TorchEmbedder, texts: list[str]) -> list[Row]:
    idle: list[float] = []
    loaded: list[float] = []
    for part in range(2):
        idle += await _ask(embedder, f"idle {part}")
        stop = asyncio.Event()
        load = asyncio.create_task(_keep_embedding(embedder, texts, stop))
        await asyncio.sleep(0.5)
        loaded += await _ask(embedder, f"loaded {part}")
        stop.set()
        await load
    rows = []
    for name, share in (("p50", 0.50), ("p95", 0.95)):
        value, base = _percentile(loaded, share), _percentile(idle, share)
        judged = name == "p95"
        rows.append(
            Row(
                f"query embedding {name} while ingesting",
                value * 1000,
                "ms",
                base * 1000,
                value / base,
                "<= 2x idle" if judged else "",
                value <= 2 * base if judged else None,
            )
        )
    return rows


async def _repeated_query(embedder: TorchEmbedder) -> Row:
    new: list[float] = []
    repeated: list[float] = []
    for index in range(QUERIES):
        question = f"Which treatment number {index} lowers blood pressure?"
        new.append((await _timed(lambda question=question: embedder.embed_query(question)))[0])  # type: ignore[misc]
        repeated.append((await _timed(lambda question=question: embedder.embed_query(question)))[0])  # type: ignore[misc]
    value, base = statistics.median(repeated), statistics.median(new)
    return Row("repeated query embedding", value * 1000, "ms", base * 1000, base / value, ">= 2x", base >= 2 * value)


async def _ask(embedder: TorchEmbedder, label: str) -> list[float]:
    latencies = []
    for index in range(QUERIES):
        question = f"Does {label} exercise number {index} reduce the risk of stroke in older adults?"
        started = time.perf_counter()
        await embedder.embed_query(question)
        latencies.append(time.perf_counter() - started)
        await asyncio.sleep(QUERY_GAP_SECONDS)
    return latencies


async def _keep_embedding(embedder: TorchEmbedder, texts: list[str], stop: asyncio.Event) -> None:
    while not stop.is_set():
        await embedder.embed_documents(texts)


async def _timed(call: Callable[[], Awaitable[Vectors]]) -> tuple[float, Vectors]:
    started = time.perf_counter()
    result = await call()
    return time.perf_counter() - started, result


def _percentile(values: list[float], share: float) -> float:
    return float(np.percentile(values, share * 100))


def mixed_texts(count: int) -> list[str]:
    """Return titles, first sentences and whole abstracts by turns, from SciFact where it is, else words at random."""
    corpus = _shared_data() / "retrieval" / "scifact" / "corpus.jsonl"
    if not corpus.is_file():
        return _generated_texts(count)
    texts = []
    with corpus.open(encoding="utf-8") as lines:
        for index, line in zip(range(count), lines, strict=False):
            document = json.loads(line)
            texts.append([document["title"], document["text"][:300], document["text"]][index % 3])
    return texts


def _shared_data() -> Path:
    stated = os.environ.get("PERPLEX_SHARED_DATA")
    return Path(stated) if stated else Path(__file__).parents[2] / "shared" / "data"


def _generated_texts(count: int) -> list[str]:
    source = random.Random(1)
    words = [f"{a}{b}{c}" for a in ("pro", "con", "re", "in") for b in ("duc", "fer", "sist") for c in ("tion", "ent")]
    return [" ".join(source.choices(words, k=source.choice((12, 50, 200)))) + f" {index}" for index in range(count)]


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--limit", type=int)
    arguments.add_argument("--json", type=Path)
    options = arguments.parse_args()
    rows = run(options.limit)
    print_table(rows)
    if options.json:
        write_json(rows, options.json)


if __name__ == "__main__":
    main()
