"""A question and what was found, as clients send and see them."""

from datetime import datetime
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

ZonedTime = Annotated[datetime, Meta(tz=True)]
SearchMode = Literal["hybrid", "dense", "sparse"]


class SearchFilters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which documents may answer; every given filter must hold (all of the tags; times at or after, before)."""

    document_ids: Annotated[list[str], Meta(max_length=1000)] | None = None
    media_types: Annotated[list[str], Meta(max_length=100)] | None = None
    tags: Annotated[list[str], Meta(max_length=100)] | None = None
    created_after: ZonedTime | None = None
    created_before: ZonedTime | None = None


class SearchRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A question. Without `collection_ids` the default collection is searched."""

    query: str
    collection_ids: Annotated[list[str], Meta(min_length=1, max_length=100)] | None = None
    limit: Annotated[int, Meta(ge=1)] = 10
    mode: SearchMode = "hybrid"
    rerank: bool = False
    filters: SearchFilters | None = None
    min_dense_score: Annotated[float, Meta(ge=-1.0, le=1.0)] | None = None
    explain: bool = False


class HitDocument(msgspec.Struct, frozen=True):
    """The document a hit comes from."""

    id: str
    name: str
    media_type: str
    page_count: int | None
    tags: list[str]
    created_at: datetime


class Box(msgspec.Struct, frozen=True):
    """A place on a page, in fractions of it, origin top left."""

    page: int
    x0: float
    y0: float
    x1: float
    y1: float


class Highlight(msgspec.Struct, frozen=True):
    """`text[start:end]` of the hit is one of the words asked for."""

    start: int
    end: int


class Scores(msgspec.Struct, frozen=True):
    """Dense: cosine similarity. Sparse: BM25. Fused: reciprocal rank fusion; comparable within one answer only."""

    dense: float | None
    sparse: float | None
    fused: float | None
    rerank: float | None = None


class Ranks(msgspec.Struct, frozen=True):
    """The place of the hit in each list, from 1."""

    dense: int | None
    sparse: int | None


class Matched(msgspec.Struct, frozen=True):
    """The small chunk that was found, `[start, end)` of the text of the hit that is shown for it."""

    text: str
    start: int
    end: int
    boxes: list[Box]


class Hit(msgspec.Struct, frozen=True):
    """One passage found. `scores` and `ranks` are there when `explain` was asked.

    In a collection that is cut hierarchically the passage is the parent of what was found, which `matched` shows and
    `chunk_id` names; several chunks found in one parent are one hit, placed as the best of them.
    """

    chunk_id: str
    document: HitDocument
    collection_id: str
    text: str
    highlights: list[Highlight]
    heading_path: list[str]
    pages: list[int]
    boxes: list[Box]
    score: float
    scores: Scores | None
    ranks: Ranks | None
    matched: Matched | None = None


class SearchResponse(msgspec.Struct, frozen=True):
    """What was found, best first; `mode_used` may be less than was asked, `warnings` say why."""

    hits: list[Hit]
    mode_used: SearchMode
    warnings: list[str]
    timings_ms: dict[str, float]
