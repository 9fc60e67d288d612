"""What was read out of a document, and how it is cut, as clients see it."""

from typing import Annotated

import msgspec
from msgspec import Meta

from perplex_mono.library.schemas import ChunkingView, StrategyName


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
    """A text, or a document that was read, and how to cut it; what is absent is as the server's settings say."""

    text: Annotated[str, Meta(min_length=1, max_length=200_000)] | None = None
    document_id: str | None = None
    strategy: StrategyName | None = None
    max_tokens: Annotated[int, Meta(ge=1)] | None = None
    overlap_tokens: Annotated[int, Meta(ge=0)] | None = None


class ChunkPreview(msgspec.Struct, frozen=True):
    """One chunk as it would be made; `parent` is the place in `parents` of what is shown when it is found."""

    page: int
    start: int
    end: int
    text: str
    heading_path: list[str]
    token_count: int
    parent: int | None


class ParentPreview(msgspec.Struct, frozen=True):
    """A stretch of a page that is shown when a chunk inside it is found."""

    page: int
    start: int
    end: int
    text: str
    token_count: int


class ChunkTotals(msgspec.Struct, frozen=True):
    """How many chunks were made and how large they are, in tokens of the embedding model; 0 where there are none."""

    chunk_count: int
    min_tokens: int
    median_tokens: int
    max_tokens: int


class ChunkPreviewView(msgspec.Struct, frozen=True):
    """The chunks and how they were asked for; `truncated` says that the text goes on behind the last one."""

    chunking: ChunkingView
    chunks: list[ChunkPreview]
    parents: list[ParentPreview]
    totals: ChunkTotals
    truncated: bool
