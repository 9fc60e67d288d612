"""What was read out of a document, and how it is cut, as clients see it."""

import msgspec


class PageView(msgspec.Struct, frozen=True):
    """One page: its text, and each word with its box in fractions of the page, origin top left."""

    document_id: str
    number: int
    label: str
    text: str
    source: str
    confidence: float
    width: float
    height: float
    words: list["WordView"]


class WordView(msgspec.Struct, frozen=True):
    """A word of a page: `text[start:end]` in the box."""

    text: str
    start: int
    end: int
    x0: float
    y0: float
    x1: float
    y1: float
    confidence: float


class TextView(msgspec.Struct, frozen=True):
    """The text of a document, page by page; `next_page` continues where this answer ended."""

    document_id: str
    pages: list["PageText"]
    next_page: int | None


class PageText(msgspec.Struct, frozen=True):
    """The text of one page."""

    number: int
    label: str
    text: str
