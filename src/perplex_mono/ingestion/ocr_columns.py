"""The order in which a person reads the lines of a scanned page: column by column, and in a column row by row.

Two things look alike, two columns of prose and a table or receipt with amounts on the right. Only prose is read
column by column, so a gap counts as a gutter when there are lines of several words on both sides of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from perplex_mono.inference.ocr import OcrLine

Row = list[OcrLine]

_BINS = 1_000
_MIN_COLUMN_LINES = 4
_MIN_GUTTER = 0.005
# Detected boxes are drawn about a third of a line height too wide on each side.
_BOX_MARGIN = 0.3
_MAX_CROSSING_SHARE = 0.15
_PROSE_WORDS = 3
_SAME_ROW_OVERLAP = 0.5


@dataclass(frozen=True, slots=True)
class Column:
    """Rows that are read together, and the left and right edge of their text."""

    rows: list[Row]
    left: float
    right: float


def columns_in_order(lines: Sequence[OcrLine], height_to_width: float) -> list[Column]:
    """Give the page's columns in reading order; lines across several columns part what is above from what is below.

    `height_to_width` is the page's height divided by its width.
    """
    gutter = _find_gutter(lines, _BOX_MARGIN * height_to_width)
    if gutter is None:
        return [_column(lines)] if lines else []
    columns: list[Column] = []
    band: list[OcrLine] = []
    for line in sorted(lines, key=_middle):
        left, right = _trimmed(line, _BOX_MARGIN * height_to_width)
        if left < gutter < right:
            columns += _split(band, gutter, height_to_width)
            columns += [_column([line])]
            band = []
        else:
            band.append(line)
    return columns + _split(band, gutter, height_to_width)


def _split(band: list[OcrLine], gutter: float, height_to_width: float) -> list[Column]:
    left = [line for line in band if _centre(line) <= gutter]
    right = [line for line in band if _centre(line) > gutter]
    return columns_in_order(left, height_to_width) + columns_in_order(right, height_to_width)


def _find_gutter(lines: Sequence[OcrLine], margin: float) -> float | None:
    """Give where the widest gap between two columns of prose is, None when there is none."""
    if len(lines) < 2 * _MIN_COLUMN_LINES:
        return None
    crossing = [0] * _BINS
    for line in lines:
        start, end = _trimmed(line, margin)
        for position in range(int(start * _BINS), min(_BINS, int(end * _BINS) + 1)):
            crossing[position] += 1
    allowed = _MAX_CROSSING_SHARE * len(lines)
    gaps = sorted(_runs(crossing, allowed), key=lambda gap: gap[0] - gap[1])
    for first, last in gaps:
        gutter = (first + last) / 2 / _BINS
        left = [line for line in lines if _trimmed(line, margin)[1] <= gutter]
        right = [line for line in lines if _trimmed(line, margin)[0] >= gutter]
        if (last - first) / _BINS >= _MIN_GUTTER and _is_prose(left) and _is_prose(right) and _overlap(left, right):
            return gutter
    return None


def _runs(crossing: list[int], allowed: float) -> list[tuple[int, int]]:
    """Give the stretches `[start, end)` that few lines cross and that have text on both sides."""
    runs: list[tuple[int, int]] = []
    start: int | None = None
    for position, count in enumerate([*crossing, _BINS * _BINS]):
        if count <= allowed and start is None:
            start = position
        elif count > allowed and start is not None:
            runs.append((start, position))
            start = None
    return [(first, last) for first, last in runs if first > 0 and last < _BINS]


def _is_prose(lines: list[OcrLine]) -> bool:
    return len(lines) >= _MIN_COLUMN_LINES and median(len(line.words) for line in lines) >= _PROSE_WORDS


def _overlap(left: list[OcrLine], right: list[OcrLine]) -> bool:
    """Whether the two stand side by side for half of the shorter one's height."""
    top = max(min(line.box.y0 for line in left), min(line.box.y0 for line in right))
    bottom = min(max(line.box.y1 for line in left), max(line.box.y1 for line in right))
    heights = [max(line.box.y1 for line in side) - min(line.box.y0 for line in side) for side in (left, right)]
    return bottom - top > 0.5 * min(heights)


def _column(lines: Sequence[OcrLine]) -> Column:
    rows: list[Row] = []
    for line in sorted(lines, key=_middle):
        row = next((row for row in reversed(rows[-3:]) if _belongs(line, row)), None)
        if row is None:
            rows.append([line])
        else:
            row.append(line)
            row.sort(key=lambda part: part.box.x0)
    return Column(rows, min(line.box.x0 for line in lines), max(line.box.x1 for line in lines))


def _belongs(line: OcrLine, row: Row) -> bool:
    """Whether the line is level with the part of the row that stands nearest, so that slight skew does no harm."""
    nearest = min(row, key=lambda part: max(part.box.x0 - line.box.x1, line.box.x0 - part.box.x1))
    if min(nearest.box.x1, line.box.x1) - max(nearest.box.x0, line.box.x0) > 0.01:
        return False
    shared = min(nearest.box.y1, line.box.y1) - max(nearest.box.y0, line.box.y0)
    return shared >= _SAME_ROW_OVERLAP * min(nearest.box.y1 - nearest.box.y0, line.box.y1 - line.box.y0)


def _trimmed(line: OcrLine, margin: float) -> tuple[float, float]:
    """Give the left and right end of the ink; `margin` is in line heights, as a fraction of the page's width."""
    trim = margin * (line.box.y1 - line.box.y0)
    return line.box.x0 + trim, max(line.box.x0 + trim, line.box.x1 - trim)


def _centre(line: OcrLine) -> float:
    return (line.box.x0 + line.box.x1) / 2


def _middle(line: OcrLine) -> float:
    return (line.box.y0 + line.box.y1) / 2
