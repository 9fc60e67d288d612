"""The part of a passage worth showing: a few lines around the words that were found."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.text import Text

from perplex_mono.cli.plain_text import printable

FOUND_STYLE = "bold"
_PAGED = ("application/pdf", "image/")
_PAGED_PARTS = ("presentation", "powerpoint", "spreadsheet", "excel", "csv", "tab-separated")


@dataclass(frozen=True)
class Excerpt:
    """Text on one line without control characters; `marks` are the found words in it."""

    text: str
    marks: Sequence[tuple[int, int]]

    def to_rich(self) -> Text:
        """The text with the found words in bold, which shows on a terminal only."""
        rich = Text(self.text)
        for start, end in self.marks:
            rich.stylize(FOUND_STYLE, start, end)
        return rich


def excerpt(text: str, found: Sequence[tuple[int, int]], max_chars: int) -> Excerpt:
    """At most about `max_chars` characters of `text`, where most different found words stand; `…` where it is cut."""
    flat, marks = _flatten(text, found)
    if len(flat) <= max_chars:
        return Excerpt(flat, marks)
    start = _best_start(flat, marks, max_chars)
    if start + max_chars >= len(flat):
        start = len(flat) - max_chars
    if start > 0:
        space = flat.find(" ", start)
        start = space + 1 if 0 <= space < start + 40 else start
    end = min(len(flat), start + max_chars)
    if end < len(flat):
        space = flat.rfind(" ", start, end)
        end = space if space > end - 40 else end
    lead = "… " if start > 0 else ""
    shown = [
        (mark_start - start + len(lead), mark_end - start + len(lead))
        for mark_start, mark_end in marks
        if mark_start >= start and mark_end <= end
    ]
    return Excerpt(f"{lead}{flat[start:end]}{' …' if end < len(flat) else ''}", shown)


def page_name(media_type: str, page: int) -> str:
    """`page 3`, or `section 3` for formats without pages of their own."""
    is_paged = media_type.startswith(_PAGED) or any(part in media_type for part in _PAGED_PARTS)
    return f"{'page' if is_paged else 'section'} {page}"


def _flatten(text: str, found: Sequence[tuple[int, int]]) -> tuple[str, list[tuple[int, int]]]:
    """Printable, blank space collapsed to single spaces, offsets carried along."""
    places: list[int] = []
    kept: list[str] = []
    for character in printable(text):
        places.append(len(kept))
        if not character.isspace():
            kept.append(character)
        elif kept and kept[-1] != " ":
            kept.append(" ")
    places.append(len(kept))
    marks = [
        (places[start], places[end])
        for start, end in sorted(found)
        if 0 <= start < end <= len(text) and places[start] < places[end]
    ]
    return "".join(kept).rstrip(), marks


def _best_start(flat: str, marks: Sequence[tuple[int, int]], max_chars: int) -> int:
    """Where a window of `max_chars` holds most different words, then most words; a little before its first."""
    best, best_value = 0, (0, 0)
    lead = max_chars // 6
    for start, _ in marks:
        begin = max(0, start - lead)
        inside = [flat[a:b].lower() for a, b in marks if a >= start and b <= begin + max_chars]
        value = (len(set(inside)), len(inside))
        if value > best_value:
            best, best_value = begin, value
    return best
