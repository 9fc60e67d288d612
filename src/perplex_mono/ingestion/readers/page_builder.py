"""Pages from pieces of structure: every reader says what it met, this module cuts, joins and counts characters.

A reader yields `Piece`s in reading order; `PageWriter` turns them into pages with right offsets. Formats
without pages become sections of bounded size, so nothing here grows with the document.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from hashlib import blake2b

import msgspec

from perplex_mono.errors import DocumentFailure
from perplex_mono.ingestion.pages import Block, BlockKind, Page
from perplex_mono.ingestion.readers.contract import ReadRequest

SECTION_CHARACTERS = 16_000
"""Most characters of a section; about ten printed pages, and small enough to check-point and to hold."""

_UNWANTED = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\u00ad\ufeff\ufffe\uffff\ud800-\udfff]")
_LINE_ENDS = re.compile("\r\n|[\r\x0b\x0c\x85\u2028\u2029]")
_SPACES = re.compile(r"\s+")
_CUTS = ("\n\n", "\n", ". ", " ")


class Piece(msgspec.Struct, frozen=True):
    """One block on its way to a page; `level` is 1-6 for headings and the depth, from 1, for list items."""

    kind: BlockKind
    text: str
    level: int = 0


def clean(text: str) -> str:
    """Text without control characters, lone surrogates and soft hyphens, with line feeds as line ends."""
    return _UNWANTED.sub("", _LINE_ENDS.sub("\n", text))


def one_line(text: str) -> str:
    """Text with every run of blank space made one space."""
    return _SPACES.sub(" ", clean(text)).strip()


def heading(text: str, level: int) -> Piece:
    """A heading of level 1 to 6, on one line."""
    return Piece("heading", one_line(text), min(max(level, 1), 6))


def paragraph(text: str) -> Piece:
    """A paragraph; its own line ends are kept."""
    return Piece("paragraph", clean(text).strip())


def list_item(text: str, depth: int, number: int | None = None) -> Piece:
    """A list item at a depth from 1, marked "- ", or "3. " when it has a number."""
    body = clean(text).strip()
    marker = "-" if number is None else f"{number}."
    return Piece("list_item", f"{marker} {body}" if body else "", max(depth, 1))


def code(text: str) -> Piece:
    """Preformatted text; indentation is kept."""
    return Piece("code", clean(text).strip("\n").rstrip())


class PageWriter:
    """Numbers the pages of one document, leaves out those already stored and keeps the page limit."""

    def __init__(self, request: ReadRequest) -> None:
        self._skip = request.skip_pages
        self._max_pages = request.limits.max_pages
        self._pages = 0
        self._characters = 0

    def page(self, pieces: Iterable[Piece], *, label: str = "") -> Iterator[Page]:
        """All pieces on exactly one page; nothing when that page is already stored."""
        self._pages += 1
        if self._pages > self._max_pages:
            raise DocumentFailure("too_many_pages", f"The document has more than {self._max_pages} pages.")
        text, blocks = _join(pieces)
        self._characters += len(text)
        if self._pages not in self._skip:
            yield Page(
                number=self._pages,
                text=text,
                blocks=blocks,
                label=one_line(label)[:255],
                content_hash=blake2b(text.encode(), digest_size=16).hexdigest(),
            )

    def sections(self, pieces: Iterable[Piece], *, label: str = "") -> Iterator[Page]:
        """As many pages as the pieces need, each cut at a block border, before a heading where one is near."""
        for section in _cut(pieces):
            yield from self.page(section, label=label)

    def finish(self) -> None:
        """Call after the last page.

        Raises `DocumentFailure("no_text")` when no page, stored ones included, had any text.
        """
        if self._characters == 0:
            raise DocumentFailure("no_text", "The document contains no text.")


def _join(pieces: Iterable[Piece]) -> tuple[str, list[Block]]:
    parts: list[str] = []
    blocks: list[Block] = []
    length = 0
    previous: Piece | None = None
    for piece in pieces:
        if not piece.text:
            continue
        if previous is not None:
            gap = "\n" if previous.kind == piece.kind == "list_item" else "\n\n"
            parts.append(gap)
            length += len(gap)
        blocks.append(Block(piece.kind, length, length + len(piece.text), piece.level))
        parts.append(piece.text)
        length += len(piece.text)
        previous = piece
    return "".join(parts), blocks


def _cut(pieces: Iterable[Piece]) -> Iterator[list[Piece]]:
    """Group pieces into sections. A heading never ends a section: it goes on with what it introduces."""
    section: list[Piece] = []
    size = 0
    for whole in pieces:
        for piece in _split(whole):
            new_topic = piece.kind == "heading" and piece.level <= 2 and size > SECTION_CHARACTERS // 2
            if section and (new_topic or size + len(piece.text) > SECTION_CHARACTERS):
                carried = _trailing_headings(section)
                if len(carried) < len(section):
                    yield section[: len(section) - len(carried)]
                    section = carried
                    size = sum(len(kept.text) + 2 for kept in section)
            section.append(piece)
            size += len(piece.text) + 2
    if section:
        yield section


def _trailing_headings(section: Sequence[Piece]) -> list[Piece]:
    """Up to four headings at the end of the section."""
    start = len(section)
    while start > max(0, len(section) - 4) and section[start - 1].kind == "heading":
        start -= 1
    return list(section[start:])


def _split(piece: Piece) -> Iterator[Piece]:
    """The piece itself, or parts of it no longer than a section, cut at the best border there is."""
    text = piece.text
    if not text:
        return
    start = 0
    while len(text) - start > SECTION_CHARACTERS:
        end = _cut_point(text, start)
        yield Piece(piece.kind, text[start:end].strip("\n "), piece.level)
        start = end
    yield Piece(piece.kind, text[start:].strip("\n ") if start else text, piece.level)


def _cut_point(text: str, start: int) -> int:
    end = start + SECTION_CHARACTERS
    for border in _CUTS:
        found = text.rfind(border, start + SECTION_CHARACTERS // 2, end)
        if found > 0:
            return found + len(border)
    return end
