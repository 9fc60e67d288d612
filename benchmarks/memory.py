"""Peak memory of reading a long PDF against a short one of the same density, each on a server that has just started."""

from benchmarks.product import running_product
from benchmarks.rows import Row, run_as_command
from benchmarks.source_files import paged_pdf

LONG_PAGES, SHORT_PAGES, WARM_UP_PAGES = 2000, 50, 10
WORDS_A_PAGE = 70
SECONDS = 1200.0
MAX_RATIO, MAX_BYTES = 1.1, 2_000_000_000


def run(limit: int | None = None) -> list[Row]:
    """Read a PDF of `limit` pages and one of 50."""
    pages = limit or LONG_PAGES
    short, base = _peak(SHORT_PAGES)
    long, _ = _peak(pages)
    ratio = long / short
    note = f"{pages} and {SHORT_PAGES} pages of {WORDS_A_PAGE} words; {base / 1e6:.0f} MB before; process tree, PSS"
    met = ratio <= MAX_RATIO and long < MAX_BYTES
    target = f"<= {MAX_RATIO}x and < 2000 MB"
    return [Row(f"peak memory, {pages}-page PDF", long / 1e6, "MB", short / 1e6, ratio, target, met, note)]


def _peak(pages: int) -> tuple[int, int]:
    """Largest memory while a document of so many pages is read, and the memory before it, models loaded."""
    with running_product() as product:
        product.ingest([("warm-up.pdf", paged_pdf(WARM_UP_PAGES, WORDS_A_PAGE, seed=1))])
        with product.peak_memory() as before:
            pass
        with product.peak_memory() as memory:
            product.ingest([("measured.pdf", paged_pdf(pages, WORDS_A_PAGE, seed=2))], SECONDS)
    return memory.bytes, before.bytes


if __name__ == "__main__":
    run_as_command(run, __doc__, "pages of the long document")
