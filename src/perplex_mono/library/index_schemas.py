"""Indexes and their making as clients send and see them."""

from datetime import datetime
from typing import Annotated

import msgspec
from msgspec import Meta

from perplex_mono.library.models import IndexState, SearchIndex
from perplex_mono.library.schemas import Chunking, ChunkingView


class Reindexing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How to index a collection anew: with the model that is set now if none is named, cut as before unless said."""

    model: Annotated[str, Meta(min_length=1, max_length=1000)] | None = None
    chunking: Chunking | None = None


class IndexView(msgspec.Struct, frozen=True):
    """One way a collection is cut and embedded. Searches look into the active index; a retired one can be reactivated.

    `operation_id` is the reindexing that built it, or last caught up with what it lacked.
    """

    id: str
    collection_id: str
    state: IndexState
    model: str
    model_key: str
    dimension: int
    chunking: ChunkingView
    document_count: int
    chunk_count: int
    operation_id: str | None
    created_at: datetime
    retired_at: datetime | None


class IndexList(msgspec.Struct, frozen=True):
    """All indexes of a collection, oldest first."""

    items: list[IndexView]


class ReindexAccepted(msgspec.Struct, frozen=True):
    """The new index is built in the background."""

    index_id: str
    operation_id: str


class IndexActivated(msgspec.Struct, frozen=True):
    """The index that is searched from now on.

    What became ready while it was put aside, it lacks: `operation_id` adds it, and until then it is found in the index
    that was active before.
    """

    index: IndexView
    missing_documents: int
    operation_id: str | None


def index_view(index: SearchIndex, document_count: int, chunk_count: int) -> IndexView:
    """The row as clients see it."""
    return IndexView(
        id=index.id,
        collection_id=index.collection_id,
        state=index.state,  # type: ignore[arg-type]  # the column is a plain string
        model=index.model,
        model_key=index.model_key,
        dimension=index.dimension,
        chunking=ChunkingView(index.chunk_strategy, index.chunk_max_tokens, index.chunk_overlap_tokens),
        document_count=document_count,
        chunk_count=chunk_count,
        operation_id=index.operation_id,
        created_at=index.created_at,
        retired_at=index.retired_at,
    )
