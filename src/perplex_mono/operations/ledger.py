"""The ledger: the truth about long work. SQLite keeps it; nothing else needs to survive.

Its parts: `journal` (events and ends), `leases` (who works at what), `steering` (what a person may say).
"""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlmodel.ext.asyncio.session import AsyncSession

from perplex_mono.operations.events import EventBus
from perplex_mono.operations.journal import error_data
from perplex_mono.operations.leases import Claim, Leases
from perplex_mono.operations.models import Operation, OperationKind
from perplex_mono.operations.repository import OperationRepository
from perplex_mono.operations.retries import retry_pause_seconds
from perplex_mono.operations.steering import Steering
from perplex_mono.storage.database import Database
from perplex_mono.storage.disk_full import is_disk_full
from perplex_mono.storage.identity import utc_now
from perplex_mono.telemetry.traces import trace_parent

__all__ = ["Claim", "Ledger", "Progress"]


@dataclass(frozen=True)
class Progress:
    """How far an operation is; `current` says what it is at (document and page)."""

    done: int
    total: int
    unit: str
    rate_per_second: float | None
    eta_seconds: float | None
    current: Mapping[str, Any]


class Ledger(Leases, Steering):
    """Operations from their creation to their end."""

    def __init__(
        self,
        database: Database,
        bus: EventBus,
        *,
        lease_seconds: float,
        max_attempts: int,
        clock: Callable[[], datetime] = utc_now,
        random_fraction: Callable[[], float] = random.random,
    ) -> None:
        super().__init__(database, bus, lease_seconds=lease_seconds, max_attempts=max_attempts, clock=clock)
        self._random_fraction = random_fraction

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
            trace_parent=trace_parent(),
            created_at=self._clock(),
        )
        session.add(operation)
        await session.flush()
        await self.emit(session, operation, "queued", {"kind": kind, "total": total, "unit": unit})
        self._ring_after_commit(session, operation)
        return operation

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
            operation.error_type = operation.error_message = None  # of an attempt before
            await self._end(session, operation, "completed", {"failed_count": failed_count, **(summary or {})})

    async def fail(self, claim: Claim, error: Exception, *, permanent: bool) -> None:
        """End the attempt: `failed` for a permanent cause, else queued again after a pause, or `dead`."""
        async with self._held(claim) as (session, operation):
            operation.error_type, operation.error_message = type(error).__name__, str(error)
            if is_disk_full(error):
                # No fault of the operation: it goes on when there is space again, however long that takes.
                operation.attempt = max(0, operation.attempt - 1)
            if permanent:
                await self._end(session, operation, "failed", error_data(operation))
            elif operation.attempt >= self._max_attempts:
                await self._bury(session, operation)
            else:
                await self._try_again(session, operation)

    async def _try_again(self, session: AsyncSession, operation: Operation) -> None:
        pause = retry_pause_seconds(operation.attempt, self._random_fraction)
        operation.state, operation.lease_until = "queued", None
        operation.not_before = self._clock() + timedelta(seconds=pause)
        await self.emit(session, operation, "retrying", {"in_seconds": pause, **error_data(operation)})
