"""Every benchmark of the table, in the order in which they run: those that leave something to the next come first."""

import importlib
import logging
import sys
from collections.abc import Callable
from dataclasses import dataclass

from loguru import logger

from benchmarks.rows import Row


@dataclass(frozen=True)
class Bench:
    """A module with `run(limit) -> rows`; `limit` says what `--limit` counts, `method` what is measured and how."""

    name: str
    limit: str
    method: str

    def load(self) -> Callable[[int | None], list[Row]]:
        """Import the module, and with it what it measures."""
        run: Callable[[int | None], list[Row]] = importlib.import_module(f"benchmarks.{self.name}").run
        return run


BENCHES = (
    Bench(
        "embedding",
        "texts",
        "The engine in its own process against `SentenceTransformer.encode(batch_size=32)` with the same model on"
        " the same texts, by turns; then questions while texts are embedded against questions while nothing is.",
    ),
    Bench(
        "ocr",
        "pages",
        "Receipts and pages of the shared data, read by the product's engine and by plain `rapidocr` page after"
        " page, in alternating groups. Word F1 ignores case.",
    ),
    Bench(
        "vectors",
        "chunks",
        "Dense search over 100,000 overlapping windows of real text against numpy's brute force over the same"
        " vectors in memory, in alternating blocks. The first run embeds the windows (about 15 minutes) and keeps"
        " them in the temporary folder.",
    ),
    Bench(
        "retrieval",
        "abstracts",
        "SciFact's abstracts and the ADI set are uploaded as text files and searched over HTTP; a document ranks"
        " where its best chunk does. References: the same model and BM25 over whole texts. Spans: the share of the"
        " wanted characters that the first five hits hold, over two long texts. The library stays for the"
        " benchmarks below.",
    ),
    Bench(
        "documents",
        "files",
        "Real files of a dozen kinds are uploaded together. Right is: the expected end (ready, or the expected"
        " reason of failure), the known phrase in the text that the product gives back, and the document found by"
        " searching it.",
    ),
    Bench(
        "ingest",
        "documents",
        "Forty PDF, DOCX, HTML and Markdown files of a dozen pages, from the first byte sent until all are"
        " searchable, against the embedding engine alone in a process of its own on the very chunks this made; by"
        " turns, each time on an empty server whose model is loaded.",
    ),
    Bench("questions", "questions", "The same question twice in a row over HTTP, the second time against the first."),
    Bench(
        "load",
        "questions a phase",
        "New questions over HTTP while documents are ingested, against the same server idle, in alternating"
        " phases. The event loop's lag is the server's own histogram over the loaded phases.",
    ),
    Bench(
        "reindexing",
        "questions a phase",
        "New questions over HTTP while the whole library is cut and embedded anew, against the same server idle, in"
        " alternating phases; then the way back to the kept index, from the call to the next search's hits.",
    ),
    Bench(
        "feeds",
        "connections",
        "A client of `/ws/operations` loses its connection a thousand times during an ingest, after a few messages or"
        " none, and comes back with the last number it saw; then what it saw is compared with what the ledger keeps.",
    ),
    Bench(
        "health",
        "rounds",
        "Sixteen keep-alive connections ask `/health` of the product and of a Litestar application with one"
        " handler, both on granian in the same loop, by turns; the load generator is a process of its own on the"
        " same machine.",
    ),
    Bench(
        "limits",
        "clients",
        "A hundred users with accounts, documents of their own and the limits that hold by default, who ask without"
        " pause; then a thousand connections that send a byte now and then, then ten thousand attempts to open a feed,"
        " two hundred at a time, every other one by one user. The clients share the machine. A list is remembered until"
        " a document changes. Memory is the proportional set size of the process tree.",
    ),
    Bench(
        "served",
        "chunks",
        "Sixteen clients without pause: 70 % reads (documents, pages, lists, operations), 25 % searches asked"
        " before, 5 % new ones; the load generator shares the machine. Memory is the proportional set size of the"
        " process tree.",
    ),
    Bench(
        "starting",
        "documents",
        "A server whose library holds ten thousand small documents is stopped and started three times, and asked every"
        " 20 ms; switched-off OCR aside, every component must be well for the second figure.",
    ),
    Bench(
        "memory",
        "pages",
        "Peak proportional set size of the process tree, sampled five times a second, while a long and a short"
        " PDF of the same density are ingested, each by a server that has just started and read one small"
        " document.",
    ),
)


def measure(name: str, limit: int | None) -> list[Row]:
    """Run the benchmark of that name here; the entry of its process."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logger.remove()
    logger.add(sys.stderr, level="WARNING")
    return next(bench for bench in BENCHES if bench.name == name).load()(limit)
