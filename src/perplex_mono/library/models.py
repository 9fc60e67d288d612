"""What is stored: collections, their indexes, documents, and what was read out of them."""

from datetime import datetime
from typing import Any, Literal

from sqlalchemy import JSON, Index, text
from sqlmodel import Field, SQLModel

from perplex_mono.storage.identity import UtcDateTime, new_id, utc_now

DEFAULT_COLLECTION_NAME = "default"
MAX_ATTACHMENT_DEPTH = 2

DocumentStatus = Literal["received", "processing", "ready", "failed", "cancelled", "deleting"]
Access = Literal["read", "write", "own"]
"""What somebody may do with a collection: each right holds those before it."""
IndexState = Literal["building", "active", "retired", "deleting"]


class Collection(SQLModel, table=True):
    """A named set of documents that is searched together, in its active index.

    While an index that was put aside and is active again still lacks documents, these are found in the fallback index.
    """

    __tablename__ = "collections"
    __table_args__ = (
        Index("uq_collections_name", "owner_id", "name", unique=True, sqlite_where=text("deleted_at IS NULL")),
    )

    id: str = Field(default_factory=new_id, primary_key=True)
    owner_id: str
    name: str
    description: str = ""
    active_index_id: str
    fallback_index_id: str | None = None
    created_at: datetime = Field(default_factory=utc_now, sa_type=UtcDateTime)
    updated_at: datetime = Field(default_factory=utc_now, sa_type=UtcDateTime)
    deleted_at: datetime | None = Field(default=None, sa_type=UtcDateTime)


class Share(SQLModel, table=True):
    """Somebody else's right to read a collection, or to read and change its documents."""

    __tablename__ = "shares"
    __table_args__ = (Index("ix_shares_user", "user_id"), {"sqlite_with_rowid": False})

    collection_id: str = Field(primary_key=True, foreign_key="collections.id", ondelete="CASCADE")
    user_id: str = Field(primary_key=True, foreign_key="users.id", ondelete="CASCADE")
    access: str
    created_at: datetime = Field(default_factory=utc_now, sa_type=UtcDateTime)


class SearchIndex(SQLModel, table=True):
    """One way a collection is cut and embedded, and the vector table that holds it."""

    __tablename__ = "indexes"
    __table_args__ = (Index("ix_indexes_collection", "collection_id"),)

    id: str = Field(default_factory=new_id, primary_key=True)
    collection_id: str
    owner_id: str
    model: str = Field(sa_column_kwargs={"server_default": "bundled"})
    model_key: str
    dimension: int
    chunk_strategy: str
    chunk_max_tokens: int
    chunk_overlap_tokens: int
    table_name: str
    state: str = "active"
    operation_id: str | None = None
    created_at: datetime = Field(default_factory=utc_now, sa_type=UtcDateTime)
    retired_at: datetime | None = Field(default=None, sa_type=UtcDateTime)


class IndexEntry(SQLModel, table=True):
    """A document that an index holds, whole and on disk."""

    __tablename__ = "index_entries"
    __table_args__ = (Index("ix_index_entries_document", "document_id"), {"sqlite_with_rowid": False})

    index_id: str = Field(primary_key=True, foreign_key="indexes.id")
    document_id: str = Field(primary_key=True, foreign_key="documents.id")
    chunk_count: int


class Document(SQLModel, table=True):
    """One file in one collection. Attachments are documents of their own, with a parent.

    `source_id` names the folder source that made the document and may remove it; uploads have none. `replaces_id` is
    the version whose place this one takes in the transaction that makes it ready. Both may outlive what they name.
    """

    __tablename__ = "documents"
    __table_args__ = (
        Index(
            "uq_documents_content",
            "collection_id",
            "sha256",
            unique=True,
            sqlite_where=text("status != 'deleting' AND parent_id IS NULL"),
        ),
        Index("ix_documents_operation", "operation_id", "status"),
        Index("ix_documents_collection", "collection_id", "id"),
        Index("ix_documents_sha256", "sha256"),
        Index("ix_documents_parent", "parent_id"),
        Index("ix_documents_source", "source_id", "id"),
        Index("ix_documents_replaces", "replaces_id"),
    )

    id: str = Field(default_factory=new_id, primary_key=True)
    owner_id: str
    collection_id: str = Field(foreign_key="collections.id")
    parent_id: str | None = Field(default=None, foreign_key="documents.id")
    depth: int = 0
    operation_id: str = Field(foreign_key="operations.id")
    name: str
    sha256: str
    size_bytes: int
    media_type: str
    status: str = "received"
    attempts: int = 0
    page_count: int | None = None
    chunk_count: int | None = None
    tags: list[str] = Field(default_factory=list, sa_type=JSON)
    meta: dict[str, Any] = Field(default_factory=dict, sa_type=JSON)
    failure_code: str | None = None
    failure_message: str | None = None
    created_at: datetime = Field(default_factory=utc_now, sa_type=UtcDateTime)
    updated_at: datetime = Field(default_factory=utc_now, sa_type=UtcDateTime)
    source_id: str | None = None
    replaces_id: str | None = None


class StoredPage(SQLModel, table=True):
    """A page as it was read: the checkpoint of reading and OCR, shared by every document with the same bytes."""

    __tablename__ = "pages"
    __table_args__ = (Index("ix_pages_content", "content_hash"),)

    sha256: str = Field(primary_key=True)
    reader_version: str = Field(primary_key=True)
    number: int = Field(primary_key=True)
    content_hash: str
    source: str
    confidence: float
    payload: bytes


class Chunk(SQLModel, table=True):
    """A passage of one document as one index cuts it. `id` is derived, so cutting twice names it the same.

    `text` is `[start, end)` of the page's text; the model and the full-text index read `context + text`. A chunk with a
    parent is shown as `[parent_start, parent_end)` of the page when it is found.
    """

    __tablename__ = "chunks"
    __table_args__ = (
        Index("ix_chunks_document", "document_id", "index_id", "ordinal"),
        Index("ix_chunks_input", "input_hash"),
        Index("ix_chunks_index", "index_id"),
    )

    id: str = Field(primary_key=True)
    document_id: str = Field(foreign_key="documents.id")
    index_id: str = Field(foreign_key="indexes.id")
    ordinal: int
    page: int
    start: int
    end: int
    text: str
    context: str
    heading_path: list[str] = Field(default_factory=list, sa_type=JSON)
    boxes: list[Any] = Field(default_factory=list, sa_type=JSON)
    token_count: int
    input_hash: str
    parent_start: int | None = None
    parent_end: int | None = None


class StoredEmbedding(SQLModel, table=True):
    """A vector, kept under the model and the hash of exactly what the model read, so nothing is embedded twice."""

    __tablename__ = "embeddings"
    __table_args__ = ({"sqlite_with_rowid": False},)

    model_key: str = Field(primary_key=True)
    input_hash: str = Field(primary_key=True)
    vector: bytes
