"""A library of abstracts that several benchmarks search: made once, kept in the temporary folder, used as a copy."""

import json
import logging
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.product import Product, copied, running_product
from benchmarks.texts import Abstract, abstracts

CHUNKS = 10_000
CHUNKS_AN_ABSTRACT = 1.5  # fewer than there are, so that a smaller library has at least the chunks that were asked for
INGEST_SECONDS = 3000.0
SIZE_FILE = "chunks.json"


@contextmanager
def open_library(chunks: int = CHUNKS) -> Iterator[Product]:
    """A server over a copy of the kept library, which has at least about `chunks` chunks; it is made if there is none.

    A library that this version of the product cannot open raises what the server says; delete the folder then.
    """
    kept = library_folder()
    if _size(kept) < chunks:
        wanted = abstracts()[: int(chunks / CHUNKS_AN_ABSTRACT) + 1] if chunks < CHUNKS else abstracts()
        logging.getLogger(__name__).warning("Making a library of %d abstracts in %s.", len(wanted), kept)
        with new_library(wanted):
            pass
    with copied(kept / "data") as data, running_product(data) as product:
        yield product


@contextmanager
def new_library(wanted: list[Abstract]) -> Iterator[Product]:
    """A server that just ingested these abstracts; once it stopped, its data is the kept library."""
    folder = library_folder()
    shutil.rmtree(folder, ignore_errors=True)
    making = folder.with_suffix(".partial")
    shutil.rmtree(making, ignore_errors=True)
    making.mkdir(parents=True)
    with running_product(making / "data") as product:
        product.ingest((abstract.file for abstract in wanted), INGEST_SECONDS)
        count = product.chunk_count()
        yield product
    (making / SIZE_FILE).write_text(json.dumps(count), encoding="ascii")
    making.rename(folder)


def library_folder() -> Path:
    """Where the library is kept."""
    return Path(tempfile.gettempdir()) / "perplex-benchmarks" / "library"


def _size(folder: Path) -> int:
    try:
        return int(json.loads((folder / SIZE_FILE).read_text(encoding="ascii")))
    except FileNotFoundError:
        return 0
