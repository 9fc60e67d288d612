"""From lines of words to a page of structured text: reading order, headings, paragraphs, lists and tables.

Pure geometry and text, without PDFium. A file's own drawing order is trusted, because writers that know the structure
draw in it; it is overruled only where it visibly runs across columns or backwards.
"""

import re
from collections import Counter
from itertools import pairwise
from statistics import median

import msgspec

from perplex_mono.ingestion.pages import Block, BlockKind, Word
from perplex_mono.ingestion.readers.pdf_columns import Table, reading_order
from perplex_mono.ingestion.readers.pdf_lines import Glyphs, TextLine, turned

BULLETS = frozenset("•◦▪▫‣⁃●○■□▶►➢➤✓✔❖·–—*-\uf0b7\uf0a7\uf0d8\uf0fc\uf076")
NUMBERED = re.compile(r"(\(?(\d{1,3}|[a-zA-Z]|[ivxIVX]{1,5})[.)]|\[\d{1,3}\])$")
SENTENCE_END = re.compile(r"[.!?:;…。！？]['\"”’)\]]*$")
# Font size over the body's size at which a line is a heading of level 1, 2, 3; bold lines of body size are level 4.
HEADING_RATIOS = ((1.7, 1), (1.3, 2), (1.12, 3))
BOLD_HEADING_LEVEL = 4
MAX_HEADING_WORDS = 25
MAX_BOLD_HEADING_WORDS = 12


class PageText(msgspec.Struct, frozen=True):
    """The text of a page with its blocks and words."""

    text: str
    blocks: list[Block]
    words: list[Word]


class _Group(msgspec.Struct):
    """Lines that make one block."""

    kind: BlockKind
    level: int
    lines: list[TextLine]


def page_text(lines: list[TextLine], body_em: float, width: float, height: float) -> PageText:
    """The page in reading order. `body_em` is the size of running text in the document, 0 when unknown.

    Lines turned another way (stamps in the margin, labels of axes) come after those of the page's main direction.
    """
    writer = _Writer(width, height)
    characters = Counter[int]()
    for line in lines:
        characters[line.turns] += sum(len(word.text) for word in line.words)
    for turns, _ in characters.most_common():
        writer.turns = turns
        flow: list[TextLine] = []
        for part in reading_order([line for line in lines if line.turns == turns]):
            if isinstance(part, TextLine):
                flow.append(part)
                continue
            _write_flow(writer, flow, body_em)
            flow = []
            writer.table(part)
        _write_flow(writer, flow, body_em)
    return writer.finish()


def _write_flow(writer: "_Writer", lines: list[TextLine], body_em: float) -> None:
    for group in _groups(lines, body_em):
        writer.block(group.kind, group.level, group.lines)


def _groups(lines: list[TextLine], body_em: float) -> list[_Group]:
    """Cut a flow of lines into headings, list items and paragraphs."""
    groups: list[_Group] = []
    usual_gap = _usual_gap(lines)
    for line in lines:
        level = _heading_level(line, body_em)
        group = groups[-1] if groups else None
        if group is not None and _belongs(line, level, group, usual_gap):
            group.lines.append(line)
        elif level:
            groups.append(_Group("heading", level, [line]))
        elif _starts_item(line):
            groups.append(_Group("list_item", 1, [line]))
        else:
            groups.append(_Group("paragraph", 0, [line]))
    return groups


def _belongs(line: TextLine, level: int, group: _Group, usual_gap: float) -> bool:
    """Whether the line goes on with the block before it."""
    last = group.lines[-1]
    if last.words[-1].hyphenated:
        return True
    if level != (group.level if group.kind == "heading" else 0) or not 0.8 < line.em / last.em < 1.25:
        return False
    if line.beside(last):
        return group.kind != "heading" or line.x0 - last.x1 < 3 * line.em
    if not line.overlaps_in_x(last) or line.y0 < last.y0:
        return group.kind != "heading" and _sentence_goes_on(last, line)
    if line.y0 - last.y1 > min(usual_gap + 0.4 * line.em, 1.5 * line.em) or _starts_item(line):
        return False
    if group.kind == "heading":
        return sum(len(other.words) for other in group.lines) + len(line.words) <= MAX_HEADING_WORDS
    return group.kind == "list_item" or not _is_indented(line, group)


def _is_indented(line: TextLine, group: _Group) -> bool:
    """Whether the line starts a paragraph by its indentation against the line before, which ends a sentence."""
    last = group.lines[-1]
    indentation = line.x0 - last.x0
    return 0.8 * line.em < indentation < 6 * line.em and bool(SENTENCE_END.search(last.words[-1].text))


def _sentence_goes_on(last: TextLine, line: TextLine) -> bool:
    """Whether a sentence runs over from one column to the next."""
    return not SENTENCE_END.search(last.words[-1].text) and line.words[0].text[:1].islower()


def _usual_gap(lines: list[TextLine]) -> float:
    """Median blank height between lines that follow each other downwards."""
    pairs = pairwise(lines)
    gaps = [after.y0 - before.y1 for before, after in pairs if after.y0 > before.y0 and after.overlaps_in_x(before)]
    return max(median(gaps), 0.0) if gaps else 0.0


def _heading_level(line: TextLine, body_em: float) -> int:
    """1-4 for a line set larger than the body or, when short, in bold; else 0."""
    words = len(line.words)
    if body_em <= 0 or words > MAX_HEADING_WORDS or line.words[0].text in BULLETS:
        return 0
    if sum(character.isalpha() for word in line.words for character in word.text) < 2:
        return 0
    for ratio, level in HEADING_RATIOS:
        if line.em >= ratio * body_em:
            return level
    is_short = words <= MAX_BOLD_HEADING_WORDS and line.words[-1].text[-1:] not in ".,;:"
    return BOLD_HEADING_LEVEL if line.bold and is_short and line.em >= 0.95 * body_em else 0


def _starts_item(line: TextLine) -> bool:
    first = line.words[0].text
    if len(line.words) < 2:
        return False
    return first in BULLETS or bool(NUMBERED.match(first))


class _Writer:
    """Collects text, and for each word where it went."""

    def __init__(self, width: float, height: float) -> None:
        self.turns = 0
        self._width = max(width, 1e-6)
        self._height = max(height, 1e-6)
        self._parts: list[str] = []
        self._length = 0
        self._blocks: list[Block] = []
        self._words: list[Word] = []

    def block(self, kind: BlockKind, level: int, lines: list[TextLine]) -> None:
        """Write a block of lines, joined by spaces, words hyphenated over a line end joined to one."""
        self._separate(kind)
        start = self._length
        words = [word for line in lines for word in line.words]
        if kind == "list_item" and words[0].text in BULLETS:
            words[0] = msgspec.structs.replace(words[0], text="-")
        for word in words:
            self._word(word)
            if not word.hyphenated:
                self._put(" ")
        self._end(kind, start, level)

    def table(self, table: Table) -> None:
        """Write a table as Markdown; its first row is the header."""
        self._separate("table")
        start = self._length
        for number, row in enumerate(table.rows):
            self._put("|")
            for cell in row:
                self._put(" ")
                for word in cell:
                    self._word(word)
                    self._put(" ")
                self._put("|")
            self._put("\n")
            if number == 0:
                self._put("|" + " --- |" * len(row) + "\n")
        self._end("table", start, 0)

    def finish(self) -> PageText:
        """All that was written."""
        return PageText("".join(self._parts), self._blocks, self._words)

    def _word(self, word: Glyphs) -> None:
        start = self._length
        self._put(word.text)
        if self._length == start:
            return
        x0, y0, x1, y1 = word.x0, word.y0, word.x1, word.y1
        width, height = self._width, self._height
        if self.turns:
            seen = (height, width) if self.turns % 2 else (width, height)
            x0, y0, x1, y1 = turned((x0, y0, x1, y1), -self.turns, *seen)
        box = (_fraction(x0, width), _fraction(y0, height), _fraction(x1, width), _fraction(y1, height))
        self._words.append(Word(start, self._length, *box))

    def _separate(self, kind: BlockKind) -> None:
        if self._blocks:
            self._put("\n" if kind == self._blocks[-1].kind == "list_item" else "\n\n")

    def _end(self, kind: BlockKind, start: int, level: int) -> None:
        """Close the block, without the blank that followed its last word."""
        if self._parts[-1] in (" ", "\n"):
            self._length -= len(self._parts.pop())
        self._blocks.append(Block(kind, start, self._length, level))

    def _put(self, text: str) -> None:
        self._parts.append(text)
        self._length += len(text)


def _fraction(value: float, of: float) -> float:
    """A share of the page, to a hundred-thousandth (a tenth of a pixel on a large screen)."""
    return round(min(max(value / of, 0.0), 1.0), 5)
