"""Tables as Markdown pipes, in pieces small enough for a page, each with the header row again."""

from collections.abc import Iterable, Iterator, Sequence

from perplex_mono.ingestion.readers.page_builder import Piece, one_line, paragraph

TABLE_CHARACTERS = 12_000
"""Most characters of one piece of a table, so that a section has room for the heading before it."""

MAX_COLUMNS = 1_000
"""Cells past this many in a row are joined into the last; real tables are narrower, hostile ones are not."""

_LONGEST_HEADER = 2_000


class TableWriter:
    """Takes rows one by one and gives back table pieces; the first row with two cells or more is the header.

    Rows of a single cell before it are titles, and a table of one column is a layout device: both become paragraphs.
    """

    def __init__(self) -> None:
        self.width = 0
        self.rows_added = 0
        self._header: list[str] | None = None
        self._rows: list[list[str]] = []
        self._size = 0

    def add(self, cells: Iterable[str]) -> Iterator[Piece]:
        """One row of cell texts; blank rows are dropped."""
        row = _fit([one_line(cell).replace("|", "\\|") for cell in cells])
        if not row:
            return
        self._rows.append(row)
        self.rows_added += 1
        self.width = max(self.width, len(row))
        self._size += sum(map(len, row)) + 3 * len(row)
        if self._size > TABLE_CHARACTERS:
            yield from self._flush()

    def finish(self) -> Iterator[Piece]:
        """What is still held; a table that is complete in one piece loses its blank columns."""
        if self._header is None:
            self._rows = _without_blank_columns(self._rows)
            self.width = max(map(len, self._rows), default=0)
        yield from self._flush()

    def _flush(self) -> Iterator[Piece]:
        rows, self._rows, self._size = self._rows, [], 0
        if not rows:
            return
        if self._header is None:
            while rows and (self.width == 1 or sum(map(bool, rows[0])) == 1):
                yield paragraph(" ".join(rows.pop(0)).replace("\\|", "|"))
            if not rows:
                return
            self._header = rows.pop(0)
        is_short = sum(map(len, self._header)) <= _LONGEST_HEADER or not rows
        yield Piece("table", _markdown(self._header if is_short else [], rows, self.width))


def table(rows: Iterable[Iterable[str]]) -> Iterator[Piece]:
    """A whole table at once."""
    writer = TableWriter()
    for row in rows:
        yield from writer.add(row)
    yield from writer.finish()


def _without_blank_columns(rows: list[list[str]]) -> list[list[str]]:
    used = sorted({column for row in rows for column, cell in enumerate(row) if cell})
    return [[row[column] for column in used if column < len(row)] for row in rows]


def _fit(cells: list[str]) -> list[str]:
    """The row without blank cells at its end, no wider than `MAX_COLUMNS`."""
    while cells and not cells[-1]:
        cells.pop()
    if len(cells) > MAX_COLUMNS:
        cells[MAX_COLUMNS - 1 :] = [" ".join(filter(None, cells[MAX_COLUMNS - 1 :]))]
    return cells


def _markdown(header: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> str:
    lines = [_line(header, width), "|" + " --- |" * width]
    lines.extend(_line(row, width) for row in rows)
    return "\n".join(lines)


def _line(cells: Sequence[str], width: int) -> str:
    padded = [*cells, *[""] * (width - len(cells))]
    return "| " + " | ".join(padded) + " |"
