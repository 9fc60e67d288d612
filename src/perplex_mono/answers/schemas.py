"""A question and its cited answer, as clients send and see them."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from perplex_mono.search.schemas import Box, SearchFilters

AnswerState = Literal["complete", "no_match"]


class AnswerRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A question to the library. `mode` says how much reading to do for it."""

    question: str
    collection_ids: Annotated[list[str], Meta(min_length=1, max_length=100)] | None = None
    filters: SearchFilters | None = None
    sources: list[Literal["library"]] = msgspec.field(default_factory=lambda: ["library"])
    mode: Literal["speed", "balanced", "quality"] = "balanced"
    stream: Literal[False] = False


class Citation(msgspec.Struct, frozen=True):
    """What `[n]` in the answer rests on: the quoted words, and where on which page they stand.

    `support` is the cosine similarity of the quote and the question.
    """

    n: int
    chunk_id: str
    document_id: str
    document_name: str
    pages: list[int]
    boxes: list[Box]
    quote: str
    support: float


class Answer(msgspec.Struct, frozen=True):
    """The answer with its citations; `generated_by` names who wrote it."""

    id: str
    chat_id: str | None
    answer: str
    citations: list[Citation]
    generated_by: str
    state: AnswerState
    warnings: list[str]
    suggestions: list[str]
    timings_ms: dict[str, float]


class Summary(msgspec.Struct, frozen=True):
    """The sentences that say most of what a document says, in its own order and words."""

    document_id: str
    summary: str
    citations: list[Citation]
    generated_by: str
