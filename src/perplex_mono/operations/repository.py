"""Reads and writes of the ledger's tables; every function works inside the caller's transaction."""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta

from sqlalchemy import delete, or_, text, update
from sqlmodel import col, func, select
from sqlmodel.ext.asyncio.session import AsyncSession

from perplex_mono.accounts.models import User
from perplex_mono.errors import NotFound
from perplex_mono.operations.models import Event, EventType, Operation


class OperationRepository:
    """Operations and events of one session."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def get(self, operation_id: str, owner_id: str) -> Operation:
        """The owner's operation. Raises `NotFound`, also for another owner's."""
        operation = await self._session.get(Operation, operation_id)
        if operation is None or operation.owner_id != owner_id:
            raise NotFound("operation", operation_id)
        return operation

    async def find(self, operation_id: str) -> Operation | None:
        """Any owner's operation."""
        return await self._session.get(Operation, operation_id)

    async def list_page(
        self,
        owner_id: str | None,
        *,
        state: str | None,
        kind: str | None,
        collection_id: str | None,
        limit: int,
        before: str | None,
    ) -> Sequence[Operation]:
        """Newest first, at most `limit`, older than the id `before`; everybody's where no owner is named."""
        query = select(Operation)
        if owner_id is not None:
            query = query.where(Operation.owner_id == owner_id)
        if state is not None:
            query = query.where(Operation.state == state)
        if kind is not None:
            query = query.where(Operation.kind == kind)
        if collection_id is not None:
            query = query.where(Operation.collection_id == collection_id)
        if before is not None:
            query = query.where(col(Operation.id) < before)
        return (await self._session.exec(query.order_by(col(Operation.id).desc()).limit(limit))).all()

    async def owner_names(self, owner_ids: Collection[str]) -> dict[str, str]:
        """The names of those that are users, by id."""
        found = await self._session.exec(select(User.id, User.name).where(col(User.id).in_(owner_ids)))
        return dict(found.all())

    async def hand_over(self, collection_id: str, from_owner: str, to_owner: str) -> None:
        """Make what somebody has, or had, at work in a collection another's, with its events."""
        theirs = (col(Operation.collection_id) == collection_id) & (col(Operation.owner_id) == from_owner)
        events = col(Event.operation_id).in_(select(Operation.id).where(theirs))
        await self._session.exec(update(Event).where(events).values(owner_id=to_owner))
        await self._session.exec(update(Operation).where(theirs).values(owner_id=to_owner))

    async def find_parent(self, operation_id: str) -> Operation | None:
        """The operation that feeds this one."""
        feeding = select(Operation.parent_id).where(Operation.id == operation_id).scalar_subquery()
        return (await self._session.exec(select(Operation).where(Operation.id == feeding))).first()

    async def list_children(self, operation_id: str) -> Sequence[Operation]:
        """The operations this one feeds, oldest first."""
        query = select(Operation).where(Operation.parent_id == operation_id)
        return (await self._session.exec(query.order_by(col(Operation.id)))).all()

    async def list_active(self, owner_id: str, limit: int) -> Sequence[Operation]:
        """Operations that are not final, newest first."""
        query = select(Operation).where(
            Operation.owner_id == owner_id, col(Operation.state).in_(("queued", "running", "paused"))
        )
        return (await self._session.exec(query.order_by(col(Operation.id).desc()).limit(limit))).all()

    async def list_given_up(self, kind: str, before: datetime) -> Sequence[Operation]:
        """Operations of a kind that failed or died before then."""
        query = select(Operation).where(
            Operation.kind == kind, col(Operation.state).in_(("failed", "dead")), col(Operation.finished_at) < before
        )
        return (await self._session.exec(query)).all()

    async def list_claimable(
        self,
        now: datetime,
        per_owner: int,
        except_ids: Collection[str] = (),
        *,
        longest_pause: timedelta,
        lease: timedelta,
    ) -> Sequence[Operation]:
        """What may be started now: queued and due, or running with a lease that ran out.

        Of each owner and kind the first `per_owner` that are urgent and as many that are not, by priority and then age.
        What would last longer than the longest pause or lease was written before the clock was set back, and is over.
        """
        not_before, lease_until = col(Operation.not_before), col(Operation.lease_until)
        due = or_(not_before.is_(None), not_before <= now, not_before > now + longest_pause)
        is_over = or_(lease_until < now, lease_until > now + lease)
        place = (
            func.row_number()
            .over(
                partition_by=(col(Operation.owner_id), col(Operation.kind), col(Operation.priority) > 0),
                order_by=(col(Operation.priority).desc(), col(Operation.created_at)),
            )
            .label("place")
        )
        ranked = (
            select(Operation.id, place)
            .where(
                or_(
                    (col(Operation.state) == "queued") & due,
                    (col(Operation.state) == "running") & is_over,
                ),
                col(Operation.id).not_in(except_ids),
            )
            .subquery()
        )
        query = (
            select(Operation)
            .join(ranked, col(Operation.id) == ranked.c.id)
            .where(ranked.c.place <= per_owner)
            .order_by(col(Operation.priority).desc(), col(Operation.created_at))
        )
        return (await self._session.exec(query)).all()

    async def list_running(self) -> Sequence[Operation]:
        """Every operation in state running."""
        return (await self._session.exec(select(Operation).where(Operation.state == "running"))).all()

    async def events_after(self, owner_id: str, operation_id: str | None, after: int, limit: int) -> Sequence[Event]:
        """The owner's events past `after`, oldest first."""
        query = select(Event).where(Event.owner_id == owner_id, col(Event.seq) > after)
        if operation_id is not None:
            query = query.where(Event.operation_id == operation_id)
        return (await self._session.exec(query.order_by(col(Event.seq)).limit(limit))).all()

    async def last_seq(self) -> int:
        """The newest number given to any event; 0 when there was none."""
        return (await self._session.exec(select(func.max(Event.seq)))).one() or 0

    async def has_first_event(self, operation_id: str) -> bool:
        """Whether the operation's history is kept from its beginning."""
        query = select(Event.type).where(Event.operation_id == operation_id).order_by(col(Event.seq)).limit(1)
        return (await self._session.exec(query)).first() == "queued"

    async def event_floor(self) -> int:
        """Events up to this number may have been removed by retention."""
        result = await self._session.connection()
        return int((await result.execute(text("SELECT event_floor FROM heartbeat"))).scalar_one())

    async def prune_progress(self, operation_id: str, event_type: EventType, before_seq: int) -> None:
        """Drop progress rows of this type that a newer one supersedes."""
        await self._session.exec(
            delete(Event).where(
                col(Event.operation_id) == operation_id, col(Event.type) == event_type, col(Event.seq) < before_seq
            )
        )

    async def prune_events(self, before: datetime) -> None:
        """Drop events older than `before` and remember how far."""
        newest = (await self._session.exec(select(func.max(Event.seq)).where(col(Event.time) < before))).one()
        if newest is None:
            return
        await self._session.exec(delete(Event).where(col(Event.seq) <= newest))
        connection = await self._session.connection()
        await connection.execute(text("UPDATE heartbeat SET event_floor = max(event_floor, :seq)"), {"seq": newest})
