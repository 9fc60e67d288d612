"""Security events, written down with the change itself or, where there is none, on their own."""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from functools import partial

from loguru import logger
from sqlmodel.ext.asyncio.session import AsyncSession

from perplex_mono.accounts.models import AuditEvent
from perplex_mono.accounts.repository import AuditRepository, CredentialRepository
from perplex_mono.accounts.schemas import Action, AuditPage, audit_view
from perplex_mono.storage.database import Database, after_commit
from perplex_mono.storage.identity import utc_now
from perplex_mono.web.callers import Caller

MAX_TARGET_CHARS = 200


def record(
    session: AsyncSession,
    action: Action,
    *,
    actor: Caller | None = None,
    target: str = "",
    address: str = "",
    allowed: bool = True,
    details: Mapping[str, object] | None = None,
) -> None:
    """Write an event with the caller's transaction; once that is durable, it leaves a line in the log too."""
    event = AuditEvent(
        action=action,
        outcome="allowed" if allowed else "refused",
        actor_id=actor.user_id if actor else None,
        actor_name=actor.name if actor else "",
        target=target[:MAX_TARGET_CHARS],
        address=address,
        details=dict(details or {}),
    )
    session.add(event)
    after_commit(session, partial(_log, event))


class AuditLog:
    """Reads the events, and writes those that change nothing else."""

    def __init__(self, database: Database, *, kept_days: int, clock: Callable[[], datetime] = utc_now) -> None:
        self._database = database
        self._kept = timedelta(days=kept_days)
        self._clock = clock

    async def refused(self, action: Action, *, actor: Caller | None = None, target: str = "", address: str) -> None:
        """Write down what was not allowed, and so changed nothing."""
        async with self._database.write(is_content=False) as session:
            record(session, action, actor=actor, target=target, address=address, allowed=False)

    async def forget_old(self) -> None:
        """Remove events older than they are kept, and logins and keys that are over."""
        async with self._database.write(is_content=False) as session:
            await AuditRepository(session).forget(self._clock() - self._kept)
            await CredentialRepository(session).forget_ended(self._clock())

    async def list_events(
        self, *, action: Action | None, user_id: str | None, limit: int, cursor: str | None
    ) -> AuditPage:
        """A page, newest first."""
        async with self._database.read() as session:
            rows = await AuditRepository(session).list_page(
                action=action, user_id=user_id, limit=limit + 1, before=cursor
            )
        items = [audit_view(row) for row in rows[:limit]]
        return AuditPage(items=items, next_cursor=items[-1].id if len(rows) > limit else None)


def _log(event: AuditEvent) -> None:
    level = "INFO" if event.outcome == "allowed" else "WARNING"
    logger.log(level, f"audit.{event.action}", outcome=event.outcome, actor=event.actor_name, target=event.target)
