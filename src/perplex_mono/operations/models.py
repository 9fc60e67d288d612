"""The ledger's tables: long work and the numbered events it emitted."""

from datetime import datetime
from typing import Any, Literal

from sqlalchemy import JSON, Index
from sqlmodel import Field, SQLModel

from perplex_mono.storage.identity import UtcDateTime, new_id, utc_now

OperationKind = Literal["ingest", "scan", "reindex", "delete", "summarize", "train", "evaluate", "backup"]
OperationState = Literal["queued", "running", "paused", "completed", "failed", "dead", "cancelled"]
FinalState = Literal["completed", "failed", "dead", "cancelled"]
FINAL_STATES: frozenset[str] = frozenset({"completed", "failed", "dead", "cancelled"})

EventType = Literal[
    "snapshot",
    "queued",
    "started",
    "document_started",
    "page_done",
    "document_done",
    "document_failed",
    "progress",
    "paused",
    "resumed",
    "warning",
    "retrying",
    "scan_progress",
    "completed",
    "failed",
    "cancelled",
    "dead",
    "gap",
    "ping",
]


class Operation(SQLModel, table=True):
    """One piece of long work. Whoever runs it holds a lease with an `epoch`; writes with an older epoch are refused.

    `parent_id` is the operation that feeds this one and whose pause, resume, cancel and retry it shares. `trace_parent`
    is the span, in W3C form, in which it was asked for.
    """

    __tablename__ = "operations"
    __table_args__ = (
        Index("ix_operations_state", "state", "priority", "created_at"),
        Index("ix_operations_owner", "owner_id", "id"),
        Index("ix_operations_parent", "parent_id"),
    )

    id: str = Field(default_factory=new_id, primary_key=True)
    owner_id: str
    kind: str
    state: str = "queued"
    collection_id: str | None = None
    priority: int = 0
    params: dict[str, Any] = Field(default_factory=dict, sa_type=JSON)
    created_at: datetime = Field(default_factory=utc_now, sa_type=UtcDateTime)
    started_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    finished_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    lease_until: datetime | None = Field(default=None, sa_type=UtcDateTime)
    not_before: datetime | None = Field(default=None, sa_type=UtcDateTime)
    done: int = 0
    total: int = 0
    unit: str = "pages"
    failed_count: int = 0
    attempt: int = 0
    epoch: int = 0
    eta_seconds: float | None = None
    error_type: str | None = None
    error_message: str | None = None
    parent_id: str | None = None
    trace_parent: str | None = None


class Event(SQLModel, table=True):
    """Something that happened to an operation. `seq` only grows and is never given twice."""

    __tablename__ = "events"
    __table_args__ = (Index("ix_events_operation", "operation_id", "seq"), {"sqlite_autoincrement": True})

    seq: int | None = Field(default=None, primary_key=True)
    operation_id: str = Field(foreign_key="operations.id")
    owner_id: str
    type: str
    time: datetime = Field(default_factory=utc_now, sa_type=UtcDateTime)
    data: dict[str, Any] = Field(default_factory=dict, sa_type=JSON)
