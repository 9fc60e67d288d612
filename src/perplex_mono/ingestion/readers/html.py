"""HTML pages: headings, lists, tables and code kept; scripts, styles and navigation dropped."""

import codecs
import re
from collections.abc import Iterator
from pathlib import Path

from perplex_mono.ingestion.readers.contract import Opened, ReaderItem, ReadRequest
from perplex_mono.ingestion.readers.decoding import SAMPLE_BYTES, guess_encoding, text_chunks
from perplex_mono.ingestion.readers.html_pieces import html_pieces
from perplex_mono.ingestion.readers.page_builder import PageWriter
from perplex_mono.library.media_types import HTML

_DECLARED = re.compile(rb"<meta[^>]{0,200}charset\s*=\s*[\"']?\s*([A-Za-z0-9_:.-]{2,40})", re.IGNORECASE)
_DECLARED_WITHIN = 4096


def read(request: ReadRequest) -> Iterator[ReaderItem]:
    """Read an HTML page as sections, in bounded memory at any size and depth of nesting."""
    pages = PageWriter(request)
    with Path(request.path).open("rb") as file:
        sample = file.read(SAMPLE_BYTES)
    yield Opened(HTML, None)
    yield from pages.sections(html_pieces(text_chunks(request.path, html_encoding(sample))))
    pages.finish()


def html_encoding(sample: bytes) -> str:
    """The encoding to read with: what the bytes prove (a mark, valid UTF-8), else what the page declares."""
    guessed = guess_encoding(sample)
    declared = _DECLARED.search(sample[:_DECLARED_WITHIN])
    if guessed.startswith("utf") or declared is None:
        return guessed
    name = declared[1].decode("ascii").lower()
    try:
        sample.decode(name, "replace")  # refuses codecs that are no text encodings
        codecs.getincrementaldecoder(name)("replace").decode(sample)
    except (LookupError, ValueError):
        return guessed
    return "cp1252" if name in ("iso-8859-1", "latin1", "us-ascii", "ascii") else name
