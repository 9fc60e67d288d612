"""Lines of words on the upright page: what the text layer gives and the layout works on."""

import hashlib
from array import array

import msgspec

Box = tuple[float, float, float, float]


class Glyphs(msgspec.Struct, gc=False):
    """A word, or the part of it on one line, with its box in points, origin top left.

    `hyphenated`: the hyphen at the line end was dropped, the next word continues this one.
    """

    text: str
    index: int
    x0: float
    y0: float
    x1: float
    y1: float
    hyphenated: bool = False


class TextLine:
    """Words side by side, in drawing order. `em` is the font size in points.

    `turns` counts the quarter turns, counter-clockwise, by which the line is turned on the upright page; its boxes
    are those on a page turned back by as much, so that layout only ever sees lines that run from left to right.
    """

    __slots__ = ("bold", "em", "turns", "words", "x0", "x1", "y0", "y1")

    def __init__(self, word: Glyphs, em: float, *, bold: bool = False, turns: int = 0) -> None:
        self.em = em
        self.bold = bold
        self.turns = turns
        self.words = [word]
        self.x0, self.y0, self.x1, self.y1 = word.x0, word.y0, word.x1, word.y1

    def add(self, word: Glyphs) -> None:
        """Put a word at the end."""
        self.words.append(word)
        self.x0, self.x1 = min(self.x0, word.x0), max(self.x1, word.x1)
        self.y0, self.y1 = min(self.y0, word.y0), max(self.y1, word.y1)

    @property
    def text(self) -> str:
        """The words with spaces between."""
        return " ".join(word.text for word in self.words)

    def overlaps_in_x(self, other: "TextLine") -> bool:
        """Whether one stands above the other."""
        return min(self.x1, other.x1) > max(self.x0, other.x0)

    def beside(self, other: "TextLine") -> bool:
        """Whether both stand on one row: half of the lower line's height is shared."""
        shared = min(self.y1, other.y1) - max(self.y0, other.y0)
        return shared > 0.5 * min(self.y1 - self.y0, other.y1 - other.y0)


def turned(box: Box, turns: int, width: float, height: float) -> Box:
    """A box of a page of the given size after `turns` quarter turns of that page, clockwise."""
    x0, y0, x1, y1 = box
    match turns % 4:
        case 1:
            return height - y1, x0, height - y0, x1
        case 2:
            return width - x1, height - y1, width - x0, height - y0
        case 3:
            return y0, width - x1, y1, width - x0
    return box


def joined(lines: list[TextLine]) -> TextLine:
    """One line with the words of all."""
    first, *rest = lines
    line = TextLine(first.words[0], first.em, bold=first.bold, turns=first.turns)
    for word in first.words[1:]:
        line.add(word)
    for other in rest:
        for word in other.words:
            line.add(word)
    return line


def hash_lines(lines: list[TextLine], width: float, height: float) -> str:
    """Identity of what a text page shows: its words and their places to a tenth of a point."""
    places = array("d", (round(width, 1), round(height, 1)))
    for line in lines:
        for word in line.words:
            places.extend((round(word.x0, 1), round(word.y0, 1), round(word.x1, 1), round(word.y1, 1)))
    digest = hashlib.blake2b("\n".join(line.text for line in lines).encode("utf-8", "replace"), digest_size=16)
    digest.update(places.tobytes())
    return digest.hexdigest()
