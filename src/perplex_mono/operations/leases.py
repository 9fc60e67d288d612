"""Who works at an operation: one worker at a time, for as long as it says that it lives.

Execution is at least once, effects are exactly once: whoever runs an operation holds a lease and an epoch, every write
of its work goes through `fenced`, and a write with an epoch that is no longer the operation's is refused.
"""

from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from sqlmodel.ext.asyncio.session import AsyncSession

from perplex_mono.errors import StaleLease
from perplex_mono.operations.events import EventBus
from perplex_mono.operations.journal import Journal
from perplex_mono.operations.models import Operation
from perplex_mono.operations.repository import OperationRepository
from perplex_mono.operations.retries import RETRY_SECONDS
from perplex_mono.operations.turns import LANE_SLOTS, OWNER_SLOTS, choose_next
from perplex_mono.storage.database import Database, after_commit
from perplex_mono.storage.identity import utc_now

MAX_RUNNING = 2 * LANE_SLOTS
LONGEST_PAUSE = timedelta(seconds=max(RETRY_SECONDS))
UNENDED_STATES = ("queued", "running", "paused")


@dataclass(frozen=True)
class Claim:
    """The right to work on an operation until the lease runs out."""

    operation_id: str
    owner_id: str
    kind: str
    collection_id: str | None
    params: Mapping[str, Any]
    epoch: int
    priority: int = 0
    parent_id: str | None = None
    trace_parent: str | None = None


class Leases(Journal):
    """Gives out operations, and takes them back from whoever went silent."""

    def __init__(
        self,
        database: Database,
        bus: EventBus,
        *,
        lease_seconds: float,
        max_attempts: int,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        super().__init__(database, bus, clock=clock)
        self._lease = timedelta(seconds=lease_seconds)
        self._max_attempts = max_attempts
        self._on_moved: list[Callable[[str], None]] = []

    def on_moved(self, tell: Callable[[str], None]) -> None:
        """Call `tell(operation_id)` after every commit of an operation's own work."""
        self._on_moved.append(tell)

    async def claim(self, limit: int = MAX_RUNNING, running: Collection[Claim] = ()) -> list[Claim]:
        """Take up to `limit` operations that may start now beside those in `running`, each with a new epoch.

        One that was started `max_attempts` times without a checkpoint in between ends `dead` instead. Those in
        `running` are left alone: somebody is still putting away what they worked at.
        """
        async with self._database.read() as session:
            if not await self._startable(session, limit, running):
                return []
        claims: list[Claim] = []
        async with self._database.write() as session:
            for operation in await self._startable(session, limit, running):
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
        async with self._held(claim) as (_, operation):
            operation.lease_until = self._clock() + self._lease

    async def release(self, claim: Claim, *, pause_seconds: float = 0.0) -> None:
        """Give the operation back unfinished, without counting the attempt: it is to go on elsewhere, or later.

        `pause_seconds` are at most `LONGEST_PAUSE`.
        """
        async with self._held(claim) as (_, operation):
            operation.state, operation.lease_until = "queued", None
            operation.attempt = max(0, operation.attempt - 1)
            operation.not_before = self._clock() + timedelta(seconds=pause_seconds) if pause_seconds else None

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
        """A write transaction of the work itself, committed only if the claim holds. Raises `StaleLease` otherwise."""
        async with self._held(claim) as (session, operation):
            for tell in self._on_moved:
                after_commit(session, partial(tell, claim.operation_id))
            yield session, operation

    @asynccontextmanager
    async def putting_away(self, claim: Claim) -> AsyncIterator[tuple[AsyncSession, Operation]]:
        """A write transaction in which an interrupted worker stores what it has in hand: a pause does not refuse it.

        Raises `StaleLease` when the operation ended or went to another worker.
        """
        async with self._held(claim, UNENDED_STATES) as (session, operation):
            yield session, operation

    @staticmethod
    def mark_checkpoint(operation: Operation) -> None:
        """Durable work was done in this transaction, so the attempts so far do not count against the operation."""
        operation.attempt = 0

    @asynccontextmanager
    async def _held(
        self, claim: Claim, states: Collection[str] = ("running",)
    ) -> AsyncIterator[tuple[AsyncSession, Operation]]:
        async with self._database.write() as session:
            operation = await session.get(Operation, claim.operation_id)
            if operation is None or operation.epoch != claim.epoch or operation.state not in states:
                raise StaleLease(f"Operation {claim.operation_id} is no longer run under epoch {claim.epoch}.")
            yield session, operation

    async def _startable(self, session: AsyncSession, limit: int, running: Collection[Claim]) -> list[Operation]:
        busy = [claim.operation_id for claim in running]
        waiting = await OperationRepository(session).list_claimable(
            self._clock(), OWNER_SLOTS, busy, longest_pause=LONGEST_PAUSE, lease=self._lease
        )
        return choose_next(waiting, running, limit)


def _claim(operation: Operation) -> Claim:
    return Claim(
        operation_id=operation.id,
        owner_id=operation.owner_id,
        kind=operation.kind,
        collection_id=operation.collection_id,
        params=operation.params,
        epoch=operation.epoch,
        priority=operation.priority,
        parent_id=operation.parent_id,
        trace_parent=operation.trace_parent,
    )
