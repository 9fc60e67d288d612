"""What happened to operations: numbered events, and how each came to its end."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from loguru import logger
from sqlmodel.ext.asyncio.session import AsyncSession

from perplex_mono.operations.events import EventBus
from perplex_mono.operations.models import Event, EventType, FinalState, Operation
from perplex_mono.operations.repository import OperationRepository
from perplex_mono.operations.schemas import envelope
from perplex_mono.storage.database import Database, after_commit
from perplex_mono.storage.identity import utc_now

Settle = Callable[[AsyncSession, Operation], Awaitable[None]]
Tell = Callable[[Operation, EventType, Sequence[Mapping[str, Any]]], None]


class Journal:
    """Stores events in the caller's transaction, and tells whoever asked once that is durable."""

    def __init__(self, database: Database, bus: EventBus, *, clock: Callable[[], datetime] = utc_now) -> None:
        self._database = database
        self._bus = bus
        self._clock = clock
        self._on_event: list[Tell] = []
        self._on_queued: list[Callable[[str, int], None]] = []
        self._on_stopped: list[Settle] = []
        self._on_retried: list[Settle] = []

    def on_event(self, tell: Tell) -> None:
        """Call `tell(operation, type, items)` after the commit of every group of events of one type."""
        self._on_event.append(tell)

    def on_queued(self, ring: Callable[[str, int], None]) -> None:
        """Call `ring(operation_id, epoch)` after the commit of every operation that becomes ready to start."""
        self._on_queued.append(ring)

    def on_stopped(self, settle: Settle) -> None:
        """Call `settle(session, operation)` in the transaction that ends or pauses an operation, whatever its end."""
        self._on_stopped.append(settle)

    def on_retried(self, prepare: Settle) -> None:
        """Call `prepare(session, operation)` in the transaction that takes an ended operation up again."""
        self._on_retried.append(prepare)

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
        for tell in self._on_event:
            after_commit(session, partial(tell, operation, event_type, items))
        return (events[-1].seq or 0) if events else 0

    async def prune_events(self, days: int) -> None:
        """Drop events older than `days`."""
        async with self._database.write() as session:
            await OperationRepository(session).prune_events(self._clock() - timedelta(days=days))

    async def _bury(self, session: AsyncSession, operation: Operation) -> None:
        """End an operation whose attempts are used up."""
        operation.error_type = operation.error_type or "AttemptsUsedUp"
        operation.error_message = operation.error_message or (
            f"It was started {operation.attempt} times and the server ended each time before anything was finished."
        )
        await self._end(session, operation, "dead", error_data(operation))

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


def error_data(operation: Operation) -> dict[str, Any]:
    """The operation's error as events carry it."""
    return {"error": {"type": operation.error_type, "message": operation.error_message}}
