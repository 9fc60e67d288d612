"""The embedding engine by itself. Run as `python -m benchmarks.engine_alone TEXTS.json`; prints the seconds it took."""

import asyncio
import json
import sys
import time
from pathlib import Path

from perplex_mono.inference.loading import open_embedder


async def _measure(texts: list[str]) -> float:
    embedder = open_embedder()
    await embedder.start()
    try:
        await embedder.embed_documents(["Warm up the model.", *(f"Warm up {number}." for number in range(20))])
        started = time.perf_counter()
        await embedder.embed_documents(texts)
        return time.perf_counter() - started
    finally:
        await embedder.close()


def main() -> None:
    """Measure the texts of a file."""
    texts = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    sys.stdout.write(f"{asyncio.run(_measure(texts)):.4f}\n")


if __name__ == "__main__":
    main()
