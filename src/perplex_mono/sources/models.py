"""What folders are read, and what was found in them."""

from datetime import datetime
from typing import Literal

from sqlalchemy import JSON, Index, text
from sqlmodel import Field, SQLModel

from perplex_mono.storage.identity import UtcDateTime, new_id, utc_now

FileStatus = Literal["document", "skipped", "failed"]


class Source(SQLModel, table=True):
    """A folder of this machine whose documents a collection follows. `device` is the file system of its last scan."""

    __tablename__ = "sources"
    __table_args__ = (Index("uq_sources_path", "collection_id", "path", unique=True),)

    id: str = Field(default_factory=new_id, primary_key=True)
    owner_id: str
    collection_id: str = Field(foreign_key="collections.id", ondelete="CASCADE")
    path: str
    include: list[str] = Field(default_factory=list, sa_type=JSON)
    exclude: list[str] = Field(default_factory=list, sa_type=JSON)
    recursive: bool = True
    watch: bool = True
    device: int | None = None
    created_at: datetime = Field(default_factory=utc_now, sa_type=UtcDateTime)
    scanned_at: datetime | None = Field(default=None, sa_type=UtcDateTime)


class SourceFile(SQLModel, table=True):
    """A file as the last scan saw it. `path` is relative, in the file system's own bytes; a folder's ends with `/`.

    `identity` (device and inode), size and time of change say whether the content is still the one that was read. A
    file that was skipped may keep the document of the last content that could be read.
    """

    __tablename__ = "source_files"
    __table_args__ = (
        Index("ix_source_files_identity", "source_id", "identity"),
        Index("ix_source_files_document", "document_id"),
        Index("ix_source_files_missing", "source_id", "path", sqlite_where=text("is_missing")),
        Index("ix_source_files_skipped", "source_id", "path", sqlite_where=text("skip_reason IS NOT NULL")),
        {"sqlite_with_rowid": False},
    )

    source_id: str = Field(primary_key=True, foreign_key="sources.id", ondelete="CASCADE")
    path: bytes = Field(primary_key=True)
    size_bytes: int = 0
    modified_ns: int = 0
    identity: str = ""
    sha256: str | None = None
    document_id: str | None = None
    skip_reason: str | None = None
    is_missing: bool = False
