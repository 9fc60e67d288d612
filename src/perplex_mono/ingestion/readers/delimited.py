"""CSV and TSV as tables, row by row: the delimiter is found by trying, the first row is the header."""

import csv
from collections.abc import Iterable, Iterator
from itertools import chain, islice

from perplex_mono.ingestion.readers.contract import Opened, ReaderItem, ReadRequest
from perplex_mono.ingestion.readers.decoding import lines_of, text_chunks
from perplex_mono.ingestion.readers.page_builder import PageWriter, Piece
from perplex_mono.ingestion.readers.tables import TableWriter
from perplex_mono.library.media_types import CSV, TSV

_DELIMITERS = (",", "\t", ";", "|")
_SAMPLE_LINES = 100


def read(request: ReadRequest) -> Iterator[ReaderItem]:
    """Read a delimited table as Markdown tables, the header repeated on every page."""
    pages = PageWriter(request)
    lines = lines_of(text_chunks(request.path))
    sample = list(islice(lines, _SAMPLE_LINES))
    delimiter = find_delimiter(sample)
    yield Opened(TSV if delimiter == "\t" else CSV, None)
    yield from pages.sections(_pieces(chain(sample, lines), delimiter))
    pages.finish()


def find_delimiter(sample: list[str]) -> str:
    """The delimiter that cuts most lines into the same number, more than one, of fields; comma in doubt."""
    scores = {delimiter: _agreement(sample, delimiter) for delimiter in _DELIMITERS}
    best = max(_DELIMITERS, key=lambda delimiter: scores[delimiter])
    return best if scores[best] > (0.0, 0) else ","


def _agreement(sample: list[str], delimiter: str) -> tuple[float, int]:
    """Share of rows that have the most common number of fields, and that number; zero for a single field."""
    widths = [len(row) for row in _rows(sample, delimiter) if row]
    if not widths:
        return (0.0, 0)
    common = max(set(widths), key=lambda width: (widths.count(width), width))
    return (widths.count(common) / len(widths), common) if common > 1 else (0.0, 0)


def _rows(lines: Iterable[str], delimiter: str) -> Iterator[list[str]]:
    """Rows of the csv module; what it refuses (a quote never closed) comes back line by line, unquoted."""
    raw: list[str] = []

    def remembered() -> Iterator[str]:
        for line in lines:
            raw.append(line)
            yield line

    reader = csv.reader(remembered(), delimiter=delimiter)
    while True:
        raw.clear()
        try:
            yield next(reader)
        except StopIteration:
            return
        except csv.Error:
            yield from (line.rstrip("\n").split(delimiter) for line in raw)


def _pieces(lines: Iterable[str], delimiter: str) -> Iterator[Piece]:
    writer = TableWriter()
    for row in _rows(lines, delimiter):
        yield from writer.add(row)
    yield from writer.finish()
