"""Operations and events as clients see them."""

from datetime import datetime
from typing import Any, Literal

import msgspec

from perplex_mono.operations.models import Event, Operation

Action = Literal["pause", "resume", "cancel", "retry"]


class ErrorView(msgspec.Struct, frozen=True):
    """Why an operation did not complete."""

    type: str
    message: str


class OperationView(msgspec.Struct, frozen=True):
    """One piece of long work and how far it is; `parent_id` is the scan that feeds it."""

    id: str
    kind: str
    state: str
    collection_id: str | None
    parent_id: str | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    done: int
    total: int
    unit: str
    failed_count: int
    attempt: int
    eta_seconds: float | None
    error: ErrorView | None


class OperationPage(msgspec.Struct, frozen=True):
    """A page of operations, newest first."""

    items: list[OperationView]
    next_cursor: str | None


class OwnedOperation(msgspec.Struct, frozen=True):
    """An operation and whose it is; without a name where it is no user's, as the server's own and local ones."""

    owner_id: str
    owner_name: str | None
    operation: OperationView


class OwnedOperationPage(msgspec.Struct, frozen=True):
    """A page of everybody's operations, newest first."""

    items: list[OwnedOperation]
    next_cursor: str | None


class Envelope(msgspec.Struct, frozen=True):
    """One event as it travels. Snapshot, gap and ping carry no `seq`, and a ping no operation."""

    type: str
    time: datetime
    data: dict[str, Any]
    operation_id: str | None = None
    seq: int | msgspec.UnsetType = msgspec.UNSET


class EventPage(msgspec.Struct, frozen=True):
    """Events after a number, oldest first."""

    items: list[Envelope]


def operation_view(operation: Operation) -> OperationView:
    """The row as clients see it."""
    return OperationView(
        id=operation.id,
        kind=operation.kind,
        state=operation.state,
        collection_id=operation.collection_id,
        parent_id=operation.parent_id,
        created_at=operation.created_at,
        started_at=operation.started_at,
        finished_at=operation.finished_at,
        done=operation.done,
        total=operation.total,
        unit=operation.unit,
        failed_count=operation.failed_count,
        attempt=operation.attempt,
        eta_seconds=operation.eta_seconds,
        error=error_view(operation),
    )


def error_view(operation: Operation) -> ErrorView | None:
    """What ended the operation's last attempt, if anything did."""
    if operation.error_type is None:
        return None
    return ErrorView(type=operation.error_type, message=operation.error_message or "")


def envelope(event: Event) -> Envelope:
    """The stored event as it travels."""
    assert event.seq is not None
    return Envelope(type=event.type, time=event.time, data=event.data, operation_id=event.operation_id, seq=event.seq)
