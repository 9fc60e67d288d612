"""Reading order of a page: undoes drawing across columns, and finds tables, from nothing but where lines stand."""

from collections.abc import Iterator
from itertools import pairwise
from statistics import mean, median, median_high

import msgspec

from perplex_mono.ingestion.readers.pdf_lines import Glyphs, TextLine, joined

# Rows of two or more cells, one under the other, that make a table or columns rather than a chance.
MIN_TABLE_ROWS = 3
MIN_WIDE_TABLE_ROWS = 2
WIDE_TABLE_CELLS = 3
MIN_COLUMN_ROWS = 4
# Cells as long as this (mean words) are lines of running text in columns.
COLUMN_WORDS = 4.0
# Part of the lines that may stand above their predecessor in the same column before the drawing order is given up.
MAX_DISORDER = 0.25
# Narrowest strip (in ems) that counts as a gutter when a page is cut anew.
GUTTER_EMS = 1.0

Row = list[TextLine]


class Table(msgspec.Struct):
    """Rows of cells of words; every row has the same number of cells."""

    rows: list[list[list[Glyphs]]]


def reading_order(lines: list[TextLine]) -> Iterator[TextLine | Table]:
    """Lines and tables in the order a person reads them."""
    if _is_disordered(lines):
        lines = list(_cut(lines))
    rows = _rows(lines)
    start = 0
    while start < len(rows):
        end = _run_end(rows, start)
        run = rows[start:end]
        if _are_columns(run):
            yield from _column_by_column(run)
        elif (table := _table(run)) is not None:
            yield table
        else:
            yield from (joined(row) if len(row) > 1 else row[0] for row in run)
        start = end


def _rows(lines: list[TextLine]) -> list[Row]:
    """Lines drawn one after the other from left to right at one height."""
    rows: list[Row] = []
    for line in lines:
        last = rows[-1][-1] if rows else None
        if last is not None and not last.words[-1].hyphenated and line.x0 >= last.x1 and line.beside(last):
            rows[-1].append(line)
        else:
            rows.append([line])
    return rows


def _run_end(rows: list[Row], start: int) -> int:
    """End of the run of rows with several cells that begins at `start`; single wrapped lines inside it belong to it."""
    end = start + 1
    if len(rows[start]) < 2:
        return end
    while end < len(rows):
        ahead = end if len(rows[end]) > 1 else end + 1
        if ahead >= len(rows) or len(rows[ahead]) < 2 or not _is_below(rows[ahead - 1], rows[ahead]):
            break
        if not _is_below(rows[end - 1], rows[end]):
            break
        end = ahead + 1
    return end


def _is_below(upper: Row, lower: Row) -> bool:
    """Whether a row follows the other downwards, within three lines' height."""
    gap = lower[0].y0 - max(line.y1 for line in upper)
    return -0.5 * lower[0].em < gap < 3 * lower[0].em


def _are_columns(run: list[Row]) -> bool:
    """Whether the rows are running text drawn across a gutter: two long cells in nearly each, with a strip between."""
    pairs = [row for row in run if len(row) == 2]
    if len(pairs) < MIN_COLUMN_ROWS or len(pairs) < 0.7 * len(run):
        return False
    if mean(len(line.words) for row in pairs for line in row) < COLUMN_WORDS:
        return False
    return max(row[0].x1 for row in pairs) <= min(row[1].x0 for row in pairs)


def _column_by_column(run: list[Row]) -> Iterator[TextLine]:
    gutter = min(row[1].x0 for row in run if len(row) == 2)
    lines = [line for row in run for line in row]
    yield from (line for line in lines if line.x0 < gutter)
    yield from (line for line in lines if line.x0 >= gutter)


def _table(run: list[Row]) -> Table | None:
    """The run as a table, or None when its cells do not stand in columns."""
    wide_rows = [row for row in run if len(row) > 1]
    usual = median_high(len(row) for row in wide_rows) if wide_rows else 0
    if len(wide_rows) < (MIN_WIDE_TABLE_ROWS if usual >= WIDE_TABLE_CELLS else MIN_TABLE_ROWS):
        return None
    columns = _columns([line for row in wide_rows if len(row) >= usual for line in row])
    if len(columns) < 2:
        return None
    rows: list[list[list[Glyphs]]] = []
    for row in run:
        cells: list[list[Glyphs]] = [[] for _ in columns]
        for line in row:
            cells[_column_of(line, columns)].extend(line.words)
        if rows and len(row) == 1 and not cells[0]:  # a wrapped cell
            for above, cell in zip(rows[-1], cells, strict=True):
                above.extend(cell)
        else:
            rows.append(cells)
    return Table(rows)


def _columns(cells: list[TextLine]) -> list[tuple[float, float]]:
    """The strips of the page that cells fill, from left to right."""
    columns: list[tuple[float, float]] = []
    for cell in sorted(cells, key=lambda cell: cell.x0):
        if columns and cell.x0 < columns[-1][1]:
            columns[-1] = (columns[-1][0], max(columns[-1][1], cell.x1))
        else:
            columns.append((cell.x0, cell.x1))
    return columns


def _column_of(line: TextLine, columns: list[tuple[float, float]]) -> int:
    """The column that shares most with the line, else the nearest."""
    return max(range(len(columns)), key=lambda n: min(line.x1, columns[n][1]) - max(line.x0, columns[n][0]))


def _is_disordered(lines: list[TextLine]) -> bool:
    """Whether the file draws much of the page upwards, so that its order says nothing."""
    pairs = list(pairwise(lines))
    backwards = sum(after.y1 <= before.y0 + 0.2 * before.em and after.overlaps_in_x(before) for before, after in pairs)
    return backwards > MAX_DISORDER * len(pairs)


def _cut(lines: list[TextLine]) -> Iterator[TextLine]:
    """Recursive X-Y cut (Nagy and Seth 1984): split at the widest blank strip across, else down, else sort by place."""
    pending = [lines]
    while pending:
        part = pending.pop()
        halves = _split(part)
        if halves is None:
            yield from sorted(part, key=lambda line: (round(line.y0 / max(line.em, 1.0)), line.x0))
        else:
            pending.extend(reversed(halves))


def _split(lines: list[TextLine]) -> tuple[list[TextLine], list[TextLine]] | None:
    if len(lines) < 2:
        return None
    em = median(line.em for line in lines)
    cut = _widest_gap([(line.x0, line.x1) for line in lines])
    if cut is not None and cut[0] > GUTTER_EMS * em:
        position = cut[1]
        return [line for line in lines if line.x0 < position], [line for line in lines if line.x0 >= position]
    cut = _widest_gap([(line.y0, line.y1) for line in lines])
    if cut is not None and cut[0] > 0:
        position = cut[1]
        return [line for line in lines if line.y0 < position], [line for line in lines if line.y0 >= position]
    return None


def _widest_gap(spans: list[tuple[float, float]]) -> tuple[float, float] | None:
    """Width and right end of the widest blank between spans; None when they leave none."""
    widest: tuple[float, float] | None = None
    spans = sorted(spans)
    reach = spans[0][1]
    for start, end in spans[1:]:
        if start > reach and (widest is None or start - reach > widest[0]):
            widest = (start - reach, start)
        reach = max(reach, end)
    return widest
