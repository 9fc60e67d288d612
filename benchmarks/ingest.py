"""Born-digital documents from upload to searchable, against the bare embedding engine on the same inputs, by turns."""

import json
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path
from statistics import median

from benchmarks.product import running_product
from benchmarks.rows import Row, run_as_command
from benchmarks.source_files import mixed_documents

DOCUMENTS = 40
PAGES = 12
ROUNDS = 2
SECONDS = 900.0
MIN_RATIO = 0.8


def run(limit: int | None = None) -> list[Row]:
    """Ingest `limit` documents of a dozen pages, twice, each time on an empty server."""
    files = mixed_documents(limit or DOCUMENTS, PAGES, seed=7)
    ours: list[float] = []
    engine: list[float] = []
    with tempfile.TemporaryDirectory(prefix="perplex-bench-ingest-") as name:
        for number in range(ROUNDS):
            data = Path(name) / str(number)
            seconds, inputs = _ingest(files, data)
            ours.append(len(inputs) / seconds)
            engine.append(len(inputs) / _embed(inputs, Path(name)))
    ratio = median(one / other for one, other in zip(ours, engine, strict=True))
    note = f"{len(files)} documents, {len(inputs)} chunks, {ROUNDS} rounds; median of the rounds' ratios"
    target = f">= {MIN_RATIO}x of the engine"
    return [Row("ingest", median(ours), "texts/s", median(engine), ratio, target, ratio >= MIN_RATIO, note)]


def _ingest(files: list[tuple[str, bytes]], data: Path) -> tuple[float, list[str]]:
    """Seconds from the first byte sent to the last document searchable, and what the model read."""
    with running_product(data) as product:
        product.ingest(mixed_documents(4, 1, seed=8))
        known = _inputs(data)
        started = time.perf_counter()
        product.ingest(files, SECONDS)
        seconds = time.perf_counter() - started
    return seconds, _inputs(data)[len(known) :]


def _inputs(data: Path) -> list[str]:
    """What the model has read of the chunks in a data directory, in the order of their documents."""
    query = "SELECT context || text FROM chunks GROUP BY input_hash ORDER BY min(document_id), min(ordinal)"
    with closing(sqlite3.connect(f"file:{data / 'perplex.db'}?mode=ro", uri=True)) as database:
        return [text for (text,) in database.execute(query)]


def _embed(inputs: list[str], folder: Path) -> float:
    """Seconds of the engine alone, in a process that does nothing else."""
    file = folder / "inputs.json"
    file.write_text(json.dumps(inputs), encoding="utf-8")
    command = [sys.executable, "-m", "benchmarks.engine_alone", str(file)]
    done = subprocess.run(command, cwd=Path(__file__).parents[1], capture_output=True, timeout=SECONDS, check=False)
    if done.returncode:
        raise RuntimeError(f"the engine failed: {done.stderr.decode(errors='replace')[-2000:]}")
    return float(done.stdout)


if __name__ == "__main__":
    run_as_command(run, __doc__, "documents")
