"""Turns a span of a page's text into the places on the page that show it: what citations and highlights draw."""

from bisect import bisect_right
from operator import attrgetter

from perplex_mono.ingestion.pages import Page, Word

Box = tuple[float, float, float, float]

_SAME_LINE_OVERLAP = 0.5
_MAX_GAP_IN_LINE_HEIGHTS = 2.5


def boxes_for(page: Page, start: int, end: int, max_boxes: int = 64) -> list[Box]:
    """Give the line boxes `(x0, y0, x1, y1)` of the words in `[start, end)` of the page's text, in reading order.

    Fractions of the upright page, origin top left. Words of one line become one box, those of two columns do not.
    At most `max_boxes`: beyond that neighbouring lines are joined. Empty where the format has no positions.
    """
    first = bisect_right(page.words, start, key=attrgetter("end"))
    height_to_width = page.height / page.width if page.width and page.height else 1.0
    lines: list[Box] = []
    for word in page.words[first:]:
        if word.start >= end:
            break
        if lines and _continues_line(lines[-1], word, height_to_width):
            lines[-1] = _union(lines[-1], (word.x0, word.y0, word.x1, word.y1))
        else:
            lines.append((word.x0, word.y0, word.x1, word.y1))
    return _join_to(lines, max_boxes)


def _continues_line(line: Box, word: Word, height_to_width: float) -> bool:
    """Whether the word stands beside the line's box, in either writing direction, closer than a column gap."""
    shared = min(line[3], word.y1) - max(line[1], word.y0)
    lower_height = min(line[3] - line[1], word.y1 - word.y0)
    if shared < _SAME_LINE_OVERLAP * lower_height:
        return False
    gap = max(word.x0 - line[2], line[0] - word.x1)
    return gap <= _MAX_GAP_IN_LINE_HEIGHTS * max(line[3] - line[1], word.y1 - word.y0) * height_to_width


def _union(a: Box, b: Box) -> Box:
    return min(a[0], b[0]), min(a[1], b[1]), max(a[2], b[2]), max(a[3], b[3])


def _join_to(lines: list[Box], max_boxes: int) -> list[Box]:
    if len(lines) <= max_boxes:
        return lines
    group = -(-len(lines) // max_boxes)
    joined: list[Box] = []
    for at, line in enumerate(lines):
        if at % group == 0:
            joined.append(line)
        else:
            joined[-1] = _union(joined[-1], line)
    return joined
