"""Collections and documents as clients send and see them."""

from datetime import datetime
from typing import Annotated, Any, Literal, get_args

import msgspec
from msgspec import Meta

from perplex_mono.errors import RETRYABLE_FAILURES
from perplex_mono.library.models import Access, Collection, Document, SearchIndex
from perplex_mono.settings import ChunkStrategy

# Some visible character, and none that controls the terminal or the direction of writing.
SHOWABLE = r"^(?=.*\S)[^\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]+$"
_SHOWN = "something visible, without line breaks and characters that control the terminal or the direction of writing"
CollectionName = Annotated[str, Meta(min_length=1, max_length=255, pattern=SHOWABLE, description=_SHOWN)]
Tag = Annotated[str, Meta(min_length=1, max_length=100, pattern=SHOWABLE, description=_SHOWN)]
Tags = Annotated[list[Tag], Meta(max_length=100)]
Metadata = Annotated[dict[str, Any], Meta(max_length=100)]
# Any text, so that a wrong one can be answered with the right ones; the API's description names those.
StrategyName = Annotated[str, Meta(max_length=50, extra_json_schema={"extra": {"enum": get_args(ChunkStrategy)}})]


class Chunking(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How documents are to be cut; what is absent is as the server's settings say (section chunking).

    An absent `overlap_tokens` is never more than half of `max_tokens`.
    """

    strategy: StrategyName | None = None
    max_tokens: Annotated[int, Meta(ge=1)] | None = None
    overlap_tokens: Annotated[int, Meta(ge=0)] | None = None


class ChunkingView(msgspec.Struct, frozen=True):
    """How documents of a collection are cut."""

    strategy: str
    max_tokens: int
    overlap_tokens: int


class NewCollection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A collection to make."""

    name: CollectionName
    description: Annotated[str, Meta(max_length=2000)] = ""
    chunking: Chunking | None = None


class CollectionChanges(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What to change of a collection; absent fields stay."""

    name: CollectionName | msgspec.UnsetType = msgspec.UNSET
    description: Annotated[str, Meta(max_length=2000)] | msgspec.UnsetType = msgspec.UNSET


class CollectionView(msgspec.Struct, frozen=True):
    """A collection, how many documents it holds and how they are cut; `access` is what the caller may do with it."""

    id: str
    name: str
    owner_id: str
    access: Access
    description: str
    document_count: int
    active_index_id: str
    chunking: ChunkingView
    created_at: datetime
    updated_at: datetime


class CollectionPage(msgspec.Struct, frozen=True):
    """A page of collections."""

    items: list[CollectionView]
    next_cursor: str | None


class NewShare(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """With whom to share, by name, and what for."""

    user: Annotated[str, Meta(min_length=1, max_length=256)]
    access: Literal["read", "write"] = "read"


class ShareView(msgspec.Struct, frozen=True):
    """A user's right to use somebody else's collection."""

    user_id: str
    user: str
    access: str
    created_at: datetime


class ShareList(msgspec.Struct, frozen=True):
    """Everybody a collection is shared with."""

    items: list[ShareView]


class FailureView(msgspec.Struct, frozen=True):
    """Why a document could not be ingested."""

    code: str
    message: str
    retryable: bool


class DocumentView(msgspec.Struct, frozen=True):
    """A document and its state."""

    id: str
    name: str
    collection_id: str
    parent_id: str | None
    source_id: str | None
    replaces_id: str | None
    operation_id: str
    status: str
    media_type: str
    size_bytes: int
    sha256: str
    page_count: int | None
    chunk_count: int | None
    tags: list[str]
    metadata: dict[str, Any]
    created_at: datetime
    updated_at: datetime
    failure: FailureView | None


class DocumentPage(msgspec.Struct, frozen=True):
    """A page of documents, newest first."""

    items: list[DocumentView]
    next_cursor: str | None


class DocumentChanges(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What to change of a document; absent fields stay."""

    name: Annotated[str, Meta(min_length=1, max_length=255)] | msgspec.UnsetType = msgspec.UNSET
    tags: Tags | msgspec.UnsetType = msgspec.UNSET
    metadata: Metadata | msgspec.UnsetType = msgspec.UNSET


class UploadedDocument(msgspec.Struct, frozen=True):
    """What became of one uploaded file; `duplicate_of` names the document that already has these bytes."""

    id: str
    name: str
    status: str
    duplicate_of: str | None


class UploadAccepted(msgspec.Struct, frozen=True):
    """The files are stored. `operation_id` is None when there is nothing left to do (all were known)."""

    operation_id: str | None
    documents: list[UploadedDocument]


class OperationAccepted(msgspec.Struct, frozen=True):
    """The work goes on in the background."""

    operation_id: str


def collection_view(
    collection: Collection, index: SearchIndex, document_count: int, access: Access | None
) -> CollectionView:
    """The row and its active index as clients see them."""
    return CollectionView(
        id=collection.id,
        name=collection.name,
        owner_id=collection.owner_id,
        access=access or "read",
        description=collection.description,
        document_count=document_count,
        active_index_id=collection.active_index_id,
        chunking=ChunkingView(index.chunk_strategy, index.chunk_max_tokens, index.chunk_overlap_tokens),
        created_at=collection.created_at,
        updated_at=collection.updated_at,
    )


def document_view(document: Document) -> DocumentView:
    """The row as clients see it."""
    failure = None
    if document.failure_code is not None:
        failure = FailureView(
            code=document.failure_code,
            message=document.failure_message or "",
            retryable=document.failure_code in RETRYABLE_FAILURES,
        )
    return DocumentView(
        id=document.id,
        name=document.name,
        collection_id=document.collection_id,
        parent_id=document.parent_id,
        source_id=document.source_id,
        replaces_id=document.replaces_id,
        operation_id=document.operation_id,
        status=document.status,
        media_type=document.media_type,
        size_bytes=document.size_bytes,
        sha256=document.sha256,
        page_count=document.page_count,
        chunk_count=document.chunk_count,
        tags=document.tags,
        metadata=document.meta,
        created_at=document.created_at,
        updated_at=document.updated_at,
        failure=failure,
    )
