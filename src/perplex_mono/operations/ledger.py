"""The ledger: the truth about long work. SQLite keeps it; nothing else needs to survive.

Execution is at least once, effects are exactly once: whoever runs an operation holds a lease and an epoch, every write
of its work goes through `fenced`, and a write with an epoch that is no longer the operation's is refused.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from loguru import logger
from sqlmodel.ext.asyncio.session import AsyncSession

from perplex_mono.errors import StaleLease
from perplex_mono.operations.events import EventBus
from perplex_mono.operations.models import Event, EventType, FinalState, Operation, OperationKind
from perplex_mono.operations.repository import OperationRepository
from perplex_mono.operations.schemas import envelope
from perplex_mono.storage.database import Database, after_commit
from perplex_mono.storage.disk_full import is_disk_full
from perplex_mono.storage.identity import utc_now

RETRY_SECONDS = (2.0, 10.0, 60.0)


@dataclass(frozen=True)
class Claim:
    """The right to work on an operation until the lease runs out."""

    operation_id: str
    owner_id: str
    kind: str
    collection_id: str | None
    params: Mapping[str, Any]
    epoch: int


@dataclass(frozen=True)
class Progress:
    """How far an operation is; `current` says what it is at (document and page)."""

    done: int
    total: int
    unit: str
    rate_per_second: float | None
    eta_seconds: float | None
    current: Mapping[str, Any]


class Ledger:
    """Creates, leases, records and ends operations."""

    def __init__(
        self,
        database: Database,
        bus: EventBus,
        *,
        lease_seconds: float,
        max_attempts: int,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._database = database
        self._bus = bus
        self._lease = timedelta(seconds=lease_seconds)
        self._max_attempts = max_attempts
        self._clock = clock
        self._on_queued: list[Callable[[str, int], None]] = []
        self._on_stopped: list[Callable[[AsyncSession, Operation], Awaitable[None]]] = []
        self._on_retried: list[Callable[[AsyncSession, Operation], Awaitable[None]]] = []

    def on_queued(self, ring: Callable[[str, int], None]) -> None:
        """Call `ring(operation_id, epoch)` after the commit of every operation that becomes ready to start."""
        self._on_queued.append(ring)

    def on_stopped(self, settle: Callable[[AsyncSession, Operation], Awaitable[None]]) -> None:
        """Call `settle(session, operation)` in the transaction that ends or pauses an operation, whatever its end."""
        self._on_stopped.append(settle)

    def on_retried(self, prepare: Callable[[AsyncSession, Operation], Awaitable[None]]) -> None:
        """Call `prepare(session, operation)` in the transaction that takes an ended operation up again."""
        self._on_retried.append(prepare)

    async def enqueue(
        self,
        session: AsyncSession,
        *,
        owner_id: str,
        kind: OperationKind,
        collection_id: str | None,
        params: Mapping[str, Any] | None = None,
        total: int,
        unit: str,
        priority: int = 0,
        parent_id: str | None = None,
    ) -> Operation:
        """Add an operation and its first event to the caller's transaction; the doorbell rings after the commit."""
        operation = Operation(
            owner_id=owner_id,
            kind=kind,
            collection_id=collection_id,
            params=dict(params or {}),
            total=total,
            unit=unit,
            priority=priority,
            parent_id=parent_id,
            created_at=self._clock(),
        )
        session.add(operation)
        await session.flush()
        await self.emit(session, operation, "queued", {"kind": kind, "total": total, "unit": unit})
        self._ring_after_commit(session, operation)
        return operation

    # -- leases ---------------------------------------------------------------------------------------------

    async def claim(self, limit: int, running: Collection[str] = (), except_kinds: Collection[str] = ()) -> list[Claim]:
        """Take up to `limit` operations that may start now, each with a new epoch.

        One that was started `max_attempts` times without a checkpoint in between ends `dead` instead. Those in
        `running` are left alone: somebody is still putting away what they worked at. So are those of `except_kinds`.
        """
        async with self._database.read() as session:
            if not await OperationRepository(session).list_claimable(self._clock(), 1, running, except_kinds):
                return []
        claims: list[Claim] = []
        async with self._database.write() as session:
            claimable = await OperationRepository(session).list_claimable(self._clock(), limit, running, except_kinds)
            for operation in claimable:
                if operation.attempt >= self._max_attempts:
                    await self._bury(session, operation)
                    continue
                operation.state = "running"
                operation.epoch += 1
                operation.attempt += 1
                operation.started_at = operation.started_at or self._clock()
                operation.lease_until = self._clock() + self._lease
                operation.not_before = None
                await self.emit(session, operation, "started", {"attempt": operation.attempt})
                claims.append(_claim(operation))
        return claims

    async def renew(self, claim: Claim) -> None:
        """Extend the lease. Raises `StaleLease` when the operation went to another worker or ended."""
        async with self.fenced(claim) as (_, operation):
            operation.lease_until = self._clock() + self._lease

    async def requeue_orphans(self) -> int:
        """At start, with the data directory locked: nobody else can be running, so give every lease back."""
        async with self._database.write() as session:
            orphans = await OperationRepository(session).list_running()
            for operation in orphans:
                operation.state = "queued"
                operation.lease_until = None
                await self.emit(session, operation, "queued", {"reason": "the server was restarted"})
                self._ring_after_commit(session, operation)
        return len(orphans)

    @asynccontextmanager
    async def fenced(self, claim: Claim) -> AsyncIterator[tuple[AsyncSession, Operation]]:
        """A write transaction that commits only if the claim still holds. Raises `StaleLease` otherwise."""
        async with self._database.write() as session:
            operation = await session.get(Operation, claim.operation_id)
            if operation is None or operation.epoch != claim.epoch or operation.state != "running":
                raise StaleLease(f"Operation {claim.operation_id} is no longer run under epoch {claim.epoch}.")
            yield session, operation

    @staticmethod
    def mark_checkpoint(operation: Operation) -> None:
        """Durable work was done in this transaction, so the attempts so far do not count against the operation."""
        operation.attempt = 0

    # -- what a person may say, in the caller's transaction --------------------------------------------------

    async def pause(self, session: AsyncSession, operation: Operation) -> None:
        """Hold the operation; its checkpoints stay."""
        operation.state, operation.lease_until, operation.eta_seconds = "paused", None, None
        await self._stopped(session, operation)
        await self.emit(session, operation, "paused", {"done": operation.done, "total": operation.total})

    async def cancel(self, session: AsyncSession, operation: Operation) -> None:
        """End the operation unfinished."""
        await self._end(session, operation, "cancelled", {})

    async def resume(self, session: AsyncSession, operation: Operation) -> None:
        """Let a paused operation go on; the doorbell rings after the commit."""
        operation.state, operation.attempt, operation.not_before = "queued", 0, None
        await self.emit(session, operation, "resumed", {"done": operation.done, "total": operation.total})
        self._ring_after_commit(session, operation)

    async def retry(self, session: AsyncSession, operation: Operation) -> None:
        """Take an ended operation up again, its attempts and errors forgotten; the doorbell rings after the commit."""
        operation.state, operation.attempt, operation.not_before = "queued", 0, None
        operation.finished_at = operation.error_type = operation.error_message = None
        operation.failed_count = 0
        for prepare in self._on_retried:
            await prepare(session, operation)
        await self.emit(session, operation, "queued", {"reason": "it is tried again"})
        self._ring_after_commit(session, operation)

    # -- events and ends ------------------------------------------------------------------------------------

    async def emit(
        self, session: AsyncSession, operation: Operation, event_type: EventType, data: Mapping[str, Any]
    ) -> int:
        """Number and store an event in the caller's transaction; followers get it after the commit."""
        return await self.emit_all(session, operation, event_type, [data])

    async def emit_all(
        self, session: AsyncSession, operation: Operation, event_type: EventType, items: Sequence[Mapping[str, Any]]
    ) -> int:
        """As `emit` for several events of one type, in order; the last one's number."""
        now = self._clock()
        events = [
            Event(operation_id=operation.id, owner_id=operation.owner_id, type=event_type, time=now, data=dict(data))
            for data in items
        ]
        session.add_all(events)
        await session.flush()
        messages = [envelope(event) for event in events]
        for message in messages:
            after_commit(session, partial(self._bus.publish, operation.owner_id, message))
        return (events[-1].seq or 0) if events else 0

    async def record_progress(self, claim: Claim, progress: Progress) -> None:
        """Store how far the operation is, in place of what was said before."""
        async with self.fenced(claim) as (session, operation):
            operation.done, operation.total = progress.done, progress.total
            operation.eta_seconds = progress.eta_seconds
            seq = await self.emit(
                session,
                operation,
                "progress",
                {
                    "done": progress.done,
                    "total": progress.total,
                    "unit": progress.unit,
                    "rate_per_second": progress.rate_per_second,
                    "eta_seconds": progress.eta_seconds,
                    "current": dict(progress.current),
                },
            )
            await OperationRepository(session).prune_progress(operation.id, "progress", seq)

    async def record_scan(self, claim: Claim, *, seen: int, data: Mapping[str, Any]) -> None:
        """Store how far a scan is, in place of what was said before; it has seen `seen` files."""
        async with self.fenced(claim) as (session, operation):
            operation.done, operation.total = seen, max(seen, operation.total)
            seq = await self.emit(session, operation, "scan_progress", data)
            await OperationRepository(session).prune_progress(operation.id, "scan_progress", seq)

    async def complete(self, claim: Claim, *, failed_count: int = 0, summary: Mapping[str, Any] | None = None) -> None:
        """End the operation well; `failed_count` documents of it may still have failed."""
        async with self.fenced(claim) as (session, operation):
            operation.failed_count = failed_count
            operation.done = operation.total
            await self._end(session, operation, "completed", {"failed_count": failed_count, **(summary or {})})

    async def fail(self, claim: Claim, error: Exception, *, permanent: bool) -> None:
        """End the attempt: `failed` for a permanent cause, else queued again after a pause, or `dead`."""
        async with self.fenced(claim) as (session, operation):
            operation.error_type, operation.error_message = type(error).__name__, str(error)
            if is_disk_full(error):
                # No fault of the operation: it goes on when there is space again, however long that takes.
                operation.attempt = max(0, operation.attempt - 1)
            if permanent:
                await self._end(session, operation, "failed", _error_data(operation))
            elif operation.attempt >= self._max_attempts:
                await self._bury(session, operation)
            else:
                pause = RETRY_SECONDS[min(max(operation.attempt, 1), len(RETRY_SECONDS)) - 1]
                operation.state, operation.lease_until = "queued", None
                operation.not_before = self._clock() + timedelta(seconds=pause)
                await self.emit(session, operation, "retrying", {"in_seconds": pause, **_error_data(operation)})

    async def release(self, claim: Claim, *, pause_seconds: float = 0.0) -> None:
        """Give the operation back unfinished, without counting the attempt: it is to go on elsewhere, or later."""
        async with self.fenced(claim) as (_, operation):
            operation.state, operation.lease_until = "queued", None
            operation.attempt = max(0, operation.attempt - 1)
            operation.not_before = self._clock() + timedelta(seconds=pause_seconds) if pause_seconds else None

    async def prune_events(self, days: int) -> None:
        """Drop events older than `days`."""
        async with self._database.write() as session:
            await OperationRepository(session).prune_events(self._clock() - timedelta(days=days))

    async def _bury(self, session: AsyncSession, operation: Operation) -> None:
        operation.error_type = operation.error_type or "AttemptsUsedUp"
        operation.error_message = operation.error_message or (
            f"It was started {operation.attempt} times and the server ended each time before anything was finished."
        )
        await self._end(session, operation, "dead", _error_data(operation))

    async def _end(
        self, session: AsyncSession, operation: Operation, state: FinalState, data: Mapping[str, Any]
    ) -> None:
        operation.state = state
        operation.finished_at = self._clock()
        operation.lease_until = None
        operation.eta_seconds = None
        await self._stopped(session, operation)
        await self.emit(session, operation, state, {"done": operation.done, "total": operation.total, **data})
        logger.info("operation.ended", ended_operation=operation.id, state=state, kind=operation.kind)

    async def _stopped(self, session: AsyncSession, operation: Operation) -> None:
        for settle in self._on_stopped:
            await settle(session, operation)

    def _ring_after_commit(self, session: AsyncSession, operation: Operation) -> None:
        for ring in self._on_queued:
            after_commit(session, partial(ring, operation.id, operation.epoch))


def _claim(operation: Operation) -> Claim:
    return Claim(
        operation_id=operation.id,
        owner_id=operation.owner_id,
        kind=operation.kind,
        collection_id=operation.collection_id,
        params=operation.params,
        epoch=operation.epoch,
    )


def _error_data(operation: Operation) -> dict[str, Any]:
    return {"error": {"type": operation.error_type, "message": operation.error_message}}
