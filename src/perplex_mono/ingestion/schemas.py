"""What was read out of a document, and how it is cut, as clients see it."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta


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


class ChunkPreviewRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A text, or a document that was read, and how to cut it."""

    text: Annotated[str, Meta(min_length=1, max_length=200_000)] | None = None
    document_id: str | None = None
    strategy: Literal["structure", "fixed"] = "structure"
    max_tokens: Annotated[int, Meta(ge=16)] = 200
    overlap_tokens: Annotated[int, Meta(ge=0)] = 30


class ChunkPreview(msgspec.Struct, frozen=True):
    """One chunk as it would be made."""

    page: int
    start: int
    end: int
    text: str
    heading_path: list[str]
    token_count: int


class ChunkPreviewView(msgspec.Struct, frozen=True):
    """The chunks; `truncated` says that there are more than are shown."""

    chunks: list[ChunkPreview]
    truncated: bool
