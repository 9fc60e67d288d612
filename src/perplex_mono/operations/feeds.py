"""Live feeds: replay from the ledger after a number, then follow the bus, without loss or repeat."""

from collections.abc import AsyncGenerator, AsyncIterator

import msgspec

from perplex_mono.operations.events import EventBus, Subscription
from perplex_mono.operations.models import Operation
from perplex_mono.operations.repository import OperationRepository
from perplex_mono.operations.schemas import Envelope, envelope, operation_view
from perplex_mono.storage.database import Database
from perplex_mono.storage.identity import utc_now

REPLAY_PAGE = 500
SNAPSHOT_OPERATIONS = 100
QUEUE_CAPACITY = 512


class FeedService:
    """What the WebSocket routes send."""

    def __init__(self, database: Database, bus: EventBus) -> None:
        self._database = database
        self._bus = bus

    async def require(self, operation_id: str, owner_id: str) -> None:
        """Raise `NotFound` unless the operation is the owner's."""
        async with self._database.read() as session:
            await OperationRepository(session).get(operation_id, owner_id)

    async def follow(
        self, owner_id: str, operation_id: str | None = None, *, after: int | None = None
    ) -> AsyncGenerator[Envelope, None]:
        """Every event past `after`, for ever; without `after`, a snapshot and then what happens next.

        A number older than what is kept, or past the last there is, gets a `gap` and a snapshot. So does a follower too
        slow for its queue, but after its gap the feed goes on from the ledger at the last number it gave.
        """
        subscription = self._bus.subscribe(owner_id, operation_id, QUEUE_CAPACITY)
        try:
            last = after
            lost = None if after is None else await self._why_lost(operation_id, after)
            if lost is not None:
                yield _unnumbered("gap", operation_id, {"after": after, "reason": lost})
            if last is None or lost is not None:
                snapshot, last = await self._snapshot(owner_id, operation_id)
                yield snapshot
            while True:
                async for event in self._replay(owner_id, operation_id, last):
                    last = _seq(event)
                    yield event
                async for event in _live(subscription, last):
                    last = _seq(event)
                    yield event
                yield _unnumbered("gap", operation_id, {"after": last, "reason": "the reader was too slow"})
        finally:
            self._bus.unsubscribe(subscription)

    async def _why_lost(self, operation_id: str | None, after: int) -> str | None:
        """Why the events past `after` are not all here; those of an operation are while its first one is."""
        async with self._database.read() as session:
            repository = OperationRepository(session)
            floor = await repository.event_floor()
            if after > max(floor, await repository.last_seq()):
                return "this number was not given yet: a backup may have been restored"
            if after >= floor:
                return None
            is_whole = operation_id is not None and await repository.has_first_event(operation_id)
            return None if is_whole else "older events are not kept"

    async def _replay(self, owner_id: str, operation_id: str | None, after: int) -> AsyncIterator[Envelope]:
        while True:
            async with self._database.read() as session:
                rows = await OperationRepository(session).events_after(owner_id, operation_id, after, REPLAY_PAGE)
            for row in rows:
                assert row.seq is not None
                after = row.seq
                yield envelope(row)
            if len(rows) < REPLAY_PAGE:
                return

    async def _snapshot(self, owner_id: str, operation_id: str | None) -> tuple[Envelope, int]:
        async with self._database.read() as session:
            repository = OperationRepository(session)
            last = await repository.last_seq()
            operations: list[Operation] = []
            if operation_id is not None:
                operations = [await repository.get(operation_id, owner_id)]
            else:
                operations = list(await repository.list_active(owner_id, SNAPSHOT_OPERATIONS))
        views = [msgspec.to_builtins(operation_view(operation)) for operation in operations]
        return _unnumbered("snapshot", operation_id, {"after": last, "operations": views}), last


async def _live(subscription: Subscription, last: int) -> AsyncIterator[Envelope]:
    """Events from the bus newer than `last`, until some were dropped."""
    while (event := await subscription.next()) is not None:
        if _seq(event) > last:
            last = _seq(event)
            yield event


def _seq(event: Envelope) -> int:
    assert isinstance(event.seq, int)
    return event.seq


def _unnumbered(event_type: str, operation_id: str | None, data: dict[str, object]) -> Envelope:
    return Envelope(type=event_type, time=utc_now(), data=data, operation_id=operation_id)
