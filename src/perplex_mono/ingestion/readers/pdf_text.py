"""The text layer of one PDF page as lines of words with boxes, in the order in which the file draws them.

Calls through ctypes cost about a microsecond each, so a word asks for its first and last character only, and a line for
the font of its first one.
"""

import ctypes
import math
import re
from collections.abc import Iterator

import msgspec
import pypdfium2 as pdfium
import pypdfium2.raw as pdfium_c

from perplex_mono.ingestion.readers.pdf_lines import Box, Glyphs, TextLine, turned

# PDFium writes this where a word is hyphenated over a line end, in place of the hyphen and the line end.
HYPHEN = "\ufffe"
WORD = re.compile(rf"[^\s\x00-\x1f{HYPHEN}]+{HYPHEN}?|\r?\n")
SOFT_HYPHEN = "\u00ad"
LINE_END_HYPHENS = (HYPHEN, SOFT_HYPHEN)
# Ligatures as the letters that people search for; soft hyphens are not part of a word.
PLAIN = str.maketrans(
    {
        SOFT_HYPHEN: "",
        "\ufb00": "ff",
        "\ufb01": "fi",
        "\ufb02": "fl",
        "\ufb03": "ffi",
        "\ufb04": "ffl",
        "\ufb05": "st",
        "\ufb06": "st",
    }
)
# A gap this wide (in ems) inside a drawn line separates columns or table cells; justified text stays below it.
GAP_EMS = 1.2
BOLD_WEIGHT = 600
FONT_NAME_BYTES = 128
FORCE_BOLD = 1 << 18  # PDF 32000-1, table 123, font flags


class PageGeometry(msgspec.Struct, frozen=True):
    """Maps PDF page space (origin bottom left, rotation not applied) to the upright page in points, origin top left."""

    left: float
    bottom: float
    right: float
    top: float
    rotation: int

    @property
    def size(self) -> tuple[float, float]:
        """Width and height of the upright page in points."""
        width, height = self.right - self.left, self.top - self.bottom
        return (height, width) if self.rotation in (90, 270) else (width, height)

    def upright(self, left: float, bottom: float, right: float, top: float) -> Box:
        """`x0, y0, x1, y1` of a rectangle of page space on the upright page; `/Rotate` turns clockwise."""
        if self.rotation == 90:
            return bottom - self.bottom, left - self.left, top - self.bottom, right - self.left
        if self.rotation == 180:
            return self.right - right, bottom - self.bottom, self.right - left, top - self.bottom
        if self.rotation == 270:
            return self.top - top, self.right - right, self.top - bottom, self.right - left
        return left - self.left, self.top - top, right - self.left, self.top - bottom


def page_geometry(page: pdfium.PdfPage) -> PageGeometry:
    """Visible box (media box cut by crop box, as PDFium draws it) and rotation of a page."""
    left, bottom, right, top = page.get_bbox()
    return PageGeometry(left, bottom, right, top, page.get_rotation())


def page_characters(textpage: pdfium.PdfTextPage) -> str:
    """All characters of the text page: one a PDFium character index, so positions in it are indexes."""
    count = pdfium_c.FPDFText_CountChars(textpage)
    if count <= 0:
        return ""
    buffer = (ctypes.c_ushort * (count * 2 + 1))()
    units = pdfium_c.FPDFText_GetText(textpage, 0, count, buffer)
    text = bytes(buffer)[: max(units - 1, 0) * 2].decode("utf-16-le", "replace")
    if len(text) == count:
        return text
    codes = (pdfium_c.FPDFText_GetUnicode(textpage, index) for index in range(count))
    return "".join(chr(code) if 0 < code < 0x110000 and not 0xD800 <= code < 0xE000 else "\ufffd" for code in codes)


def text_lines(textpage: pdfium.PdfTextPage, characters: str, geometry: PageGeometry) -> list[TextLine]:
    """The visible words in drawn order, cut into lines at line ends, wide gaps and words not beside the last."""
    width, height = geometry.size
    lines: list[TextLine] = []
    current: TextLine | None = None
    for word in _words(textpage, characters, geometry):
        if word is None:
            current = None
            continue
        if not (word.x1 > 0 and word.y1 > 0 and word.x0 < width and word.y0 < height):
            continue  # cut off by the page's edge, or at a place that is not a number
        word.x0, word.y0 = max(word.x0, 0.0), max(word.y0, 0.0)
        word.x1, word.y1 = min(word.x1, width), min(word.y1, height)
        if current is not None and current.turns:
            _turn(word, current.turns, geometry)
        if current is not None and _continues(current, word):
            current.add(word)
        else:
            if current is not None and current.turns:
                _turn(word, -current.turns, geometry)
            current = _new_line(textpage, word, geometry)
            lines.append(current)
        if word.hyphenated:
            current = None
    return lines


def _words(textpage: pdfium.PdfTextPage, characters: str, geometry: PageGeometry) -> Iterator[Glyphs | None]:
    """Words with their boxes; None for a line end."""
    handle = textpage.raw
    first, last = pdfium_c.FS_RECTF(), pdfium_c.FS_RECTF()
    box_of, upright = pdfium_c.FPDFText_GetLooseCharBox, geometry.upright
    for match in WORD.finditer(characters):
        word = match.group()
        if word[-1] == "\n":
            yield None
            continue
        start, end = match.span()
        box_of(handle, start, first)
        box_of(handle, end - 1, last)
        if last.left == last.right and end - start > 1:  # an invented character, such as the hyphen, has no box
            box_of(handle, end - 2, last)
        box = upright(
            min(first.left, last.left),
            min(first.bottom, last.bottom),
            max(first.right, last.right),
            max(first.top, last.top),
        )
        hyphenated = word[-1] in LINE_END_HYPHENS
        text = word.rstrip(HYPHEN)
        yield Glyphs(text if text.isascii() else text.translate(PLAIN), start, *box, hyphenated=hyphenated)


def _turn(word: Glyphs, turns: int, geometry: PageGeometry) -> None:
    """Place the word as on the page turned clockwise, or turned back when `turns` is negative."""
    width, height = geometry.size
    if turns < 0 and turns % 2:
        width, height = height, width
    word.x0, word.y0, word.x1, word.y1 = turned((word.x0, word.y0, word.x1, word.y1), turns, width, height)


def _continues(line: TextLine, word: Glyphs) -> bool:
    """Whether the word stands on the line, right beside its last word, in either direction of writing."""
    last = line.words[-1]
    shared = min(line.y1, word.y1) - max(line.y0, word.y0)
    gap = max(word.x0 - last.x1, last.x0 - word.x1)
    return shared > 0.3 * min(line.y1 - line.y0, word.y1 - word.y0) and gap < GAP_EMS * line.em


def _new_line(textpage: pdfium.PdfTextPage, word: Glyphs, geometry: PageGeometry) -> TextLine:
    """A line that starts with the word and has the font and direction of its first character."""
    matrix = pdfium_c.FS_MATRIX()
    size = abs(pdfium_c.FPDFText_GetFontSize(textpage, word.index))
    if not pdfium_c.FPDFText_GetMatrix(textpage, word.index, matrix):
        return TextLine(word, word.y1 - word.y0)
    turns = round((math.degrees(math.atan2(matrix.b, matrix.a)) - geometry.rotation) / 90) % 4
    if turns:
        _turn(word, turns, geometry)
    em = size * math.hypot(matrix.c, matrix.d)
    flags = ctypes.c_int()
    name = ctypes.create_string_buffer(FONT_NAME_BYTES)
    pdfium_c.FPDFText_GetFontInfo(textpage, word.index, name, len(name), flags)
    weight = pdfium_c.FPDFText_GetFontWeight(textpage, word.index)
    bold = weight >= BOLD_WEIGHT or bool(flags.value & FORCE_BOLD) or b"bold" in name.value.lower()
    return TextLine(word, em if 0 < em < 1e4 else word.y1 - word.y0, bold=bold, turns=turns)
