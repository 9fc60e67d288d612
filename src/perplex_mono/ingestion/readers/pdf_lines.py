"""Lines of words on the upright page: what the text layer gives and the layout works on."""

import hashlib
from array import array

import msgspec


class Glyphs(msgspec.Struct, gc=False):
    """A word, or the part of it on one line, with its box in points of the upright page, origin top left.

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
    """Words side by side, in drawing order. `em` is the font size in points; `upended` text runs up or down."""

    __slots__ = ("bold", "em", "upended", "words", "x0", "x1", "y0", "y1")

    def __init__(self, word: Glyphs, em: float, *, bold: bool = False, upended: bool = False) -> None:
        self.em = em
        self.bold = bold
        self.upended = upended
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


def joined(lines: list[TextLine]) -> TextLine:
    """One line with the words of all."""
    first, *rest = lines
    line = TextLine(first.words[0], first.em, bold=first.bold, upended=first.upended)
    for word in first.words[1:]:
        line.add(word)
    for other in rest:
        for word in other.words:
            line.add(word)
    return line


def hash_lines(lines: list[TextLine], width: float, height: float) -> str:
    """Identity of what a text page shows: its words and their places to a tenth of a point."""
    places = array("i", (round(width * 10), round(height * 10)))
    for line in lines:
        for word in line.words:
            places.extend((round(word.x0 * 10), round(word.y0 * 10), round(word.x1 * 10), round(word.y1 * 10)))
    digest = hashlib.blake2b("\n".join(line.text for line in lines).encode("utf-8", "replace"), digest_size=16)
    digest.update(places.tobytes())
    return digest.hexdigest()
