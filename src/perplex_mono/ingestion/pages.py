"""What a reader hands on: pages of text that know their structure and where each word stands.

This module is imported by reader children, so it depends on nothing heavier than msgspec.
"""

from typing import Literal

import msgspec

BlockKind = Literal["heading", "paragraph", "list_item", "table", "code"]
TextSource = Literal["text", "ocr"]


class Word(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A word (or an OCR line part) and its box.

    `start`/`end` are character offsets into the page's text; `x0 y0 x1 y1` are fractions of the upright page
    as a person sees it (rotation applied), origin top left; `confidence` is 0..1, 1.0 for a text layer.
    """

    start: int
    end: int
    x0: float
    y0: float
    x1: float
    y1: float
    confidence: float = 1.0


class Block(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A structural piece of the page: `[start, end)` of its text. `level` is 1-6 for headings, depth for list items.

    Blocks are in reading order, do not overlap, and cover all text but the blank space between them.
    A table's text is Markdown: a header row, a rule, one row a line.
    """

    kind: BlockKind
    start: int
    end: int
    level: int = 0


class Page(msgspec.Struct, frozen=True):
    """One page, slide, sheet, chapter or section; `number` counts from 1 in reading order.

    `label` is the name a person knows it by, where it has one (sheet name, slide title, printed page label).
    `width`/`height` are in points (pixels for images), 0 where the format has no pages.
    `content_hash` identifies what the page itself shows, so an unchanged page of an edited file is recognised.
    """

    number: int
    text: str
    blocks: list[Block] = []
    words: list[Word] = []
    width: float = 0.0
    height: float = 0.0
    source: TextSource = "text"
    confidence: float = 1.0
    label: str = ""
    content_hash: str = ""
    warnings: list[str] = []


class PageImage(msgspec.Struct, frozen=True):
    """A page without usable text, rendered for OCR: `height x width x 3` RGB bytes, row by row.

    `page_width`/`page_height` are the page's own size in points (pixels for images).
    """

    number: int
    width: int
    height: int
    pixels: bytes
    page_width: float = 0.0
    page_height: float = 0.0
    content_hash: str = ""
    label: str = ""


class Attachment(msgspec.Struct, frozen=True):
    """A file inside the document, already written to `path` by the reader child for the parent to take over."""

    name: str
    path: str
    size_bytes: int
