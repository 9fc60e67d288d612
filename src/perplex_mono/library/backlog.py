"""The work that waits, and where it ends: too many documents, or more hours than anybody would wait."""

import math
from datetime import datetime

from sqlalchemy import case
from sqlmodel import col, func, select
from sqlmodel.ext.asyncio.session import AsyncSession

from perplex_mono.errors import Overloaded, TooLarge
from perplex_mono.library.collection_repository import CollectionRepository
from perplex_mono.library.metrics import QueueFigures
from perplex_mono.library.models import Document
from perplex_mono.library.repository import PENDING_STATUSES, DocumentRepository
from perplex_mono.library.throughput import MIN_BYTES, Throughput
from perplex_mono.operations.models import Operation
from perplex_mono.storage.database import Database
from perplex_mono.storage.identity import utc_now

FULL_RETRY_SECONDS = 60
MAX_RETRY_SECONDS = 3600
KEPT_SHARE = 10
"""One place in so many is kept from whoever fills all the others, while the server has other users."""


class Backlog:
    """Documents that wait or are being worked at, of everybody."""

    def __init__(self, database: Database, throughput: Throughput, *, max_documents: int, max_hours: float) -> None:
        self._database = database
        self._throughput = throughput
        self._max_documents = max_documents
        self._max_hours = max_hours

    async def require_room(self, session: AsyncSession, owner_id: str, *, more: int, priority: int) -> None:
        """Refuse what would make the queue too long, or would itself wait too long.

        Only work of at least its own priority goes before a document: a single upload is taken while a scan of many
        hours waits. Raises `TooLarge` when it would never fit, else `Overloaded` that says when to come back.
        """
        limit = f"at most {self._max_documents} may wait (limits.queue_documents)"
        if more > self._max_documents:
            raise TooLarge(f"{more} documents at once are too many: {limit}.")
        waiting = await DocumentRepository(session).count_pending()
        if waiting + more > self._max_documents:
            message = f"{waiting} documents are waiting, there is no room for {more} more: {limit}."
            raise Overloaded(message, FULL_RETRY_SECONDS)
        await self._require_share(session, owner_id, waiting=waiting, more=more)
        seconds = await self._seconds_before(session, priority)
        too_long = (seconds or 0.0) - self._max_hours * 3600
        if seconds is not None and too_long > 0:
            raise Overloaded(
                f"About {_duration(seconds)} of work are waiting; more is taken when it is less than"
                f" {_duration(self._max_hours * 3600)} (limits.queue_hours).",
                min(max(math.ceil(too_long), 1), MAX_RETRY_SECONDS),
            )

    async def _require_share(self, session: AsyncSession, owner_id: str, *, waiting: int, more: int) -> None:
        """Nobody fills the queue so that others cannot even get into it."""
        share = self._max_documents - self._max_documents // KEPT_SHARE
        if waiting + more <= share:
            return  # whoever they belong to
        own = await DocumentRepository(session).count_pending_of(owner_id)
        if own + more > share and await CollectionRepository(session).others_exist(owner_id):
            raise Overloaded(
                f"{own} of your documents are waiting, there is no room for {more} more: of the"
                f" {self._max_documents} that may wait (limits.queue_documents) at most {share} are one user's.",
                FULL_RETRY_SECONDS,
            )

    async def figures(self) -> QueueFigures:
        """What waits now, for `/metrics`."""
        async with self._database.read() as session:
            documents = await DocumentRepository(session).count_pending()
            seconds = await self._seconds_before(session, None)
            since = await self._oldest(session)
        age = 0.0 if since is None else max(0.0, (utc_now() - since).total_seconds())
        return QueueFigures(documents=documents, work_seconds=seconds, oldest_seconds=age)

    async def _seconds_before(self, session: AsyncSession, priority: int | None) -> float | None:
        """Estimated time that unfinished documents take, those of paused operations left out."""
        size = case((col(Document.size_bytes) < MIN_BYTES, MIN_BYTES), else_=col(Document.size_bytes))
        query = (
            select(Document.media_type, func.sum(size))
            .join(Operation, col(Operation.id) == col(Document.operation_id))
            .where(col(Document.status).in_(PENDING_STATUSES), col(Operation.state).in_(("queued", "running")))
            .group_by(col(Document.media_type))
        )
        if priority is not None:
            query = query.where(Operation.priority >= priority)
        return self._throughput.seconds_for(dict((await session.exec(query)).all()))

    @staticmethod
    async def _oldest(session: AsyncSession) -> datetime | None:
        """Since when the document waits that has waited longest; none that is being worked at, none that is held."""
        query = (
            select(Document.updated_at)
            .join(Operation, col(Operation.id) == col(Document.operation_id))
            .where(Document.status == "received", col(Operation.state).in_(("queued", "running")))
            .order_by(col(Document.updated_at))
            .limit(1)
        )
        return (await session.exec(query)).first()


def _duration(seconds: float) -> str:
    """In the unit that fits: seconds, minutes or hours."""
    if seconds < 120:
        return f"{seconds:.3g} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 7200 else f"{seconds / 3600:.1f} hours"
