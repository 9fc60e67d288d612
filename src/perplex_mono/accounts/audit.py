"""Security events, written down with the change itself or, where there is none, on their own."""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Literal

from loguru import logger

from perplex_mono.accounts.models import AuditEvent
from perplex_mono.accounts.repository import AuditRepository, CredentialRepository
from perplex_mono.accounts.schemas import AuditPage, audit_view
from perplex_mono.storage.database import Database
from perplex_mono.storage.identity import utc_now
from perplex_mono.web.callers import Caller

Action = Literal[
    "setup",
    "login",
    "logout",
    "token_reuse",
    "user_created",
    "user_changed",
    "user_disabled",
    "user_enabled",
    "password_changed",
    "key_created",
    "key_revoked",
    "share_set",
    "share_removed",
    "settings_changed",
]
MAX_TARGET_CHARS = 200


def audit_event(
    action: Action,
    *,
    actor: Caller | None = None,
    target: str = "",
    address: str = "",
    allowed: bool = True,
    details: Mapping[str, object] | None = None,
) -> AuditEvent:
    """An event to be added to the transaction of the change; it also leaves a line in the log."""
    event = AuditEvent(
        action=action,
        outcome="allowed" if allowed else "refused",
        actor_id=actor.user_id if actor else None,
        actor_name=actor.name if actor else "",
        target=target[:MAX_TARGET_CHARS],
        address=address,
        details=dict(details or {}),
    )
    level = "INFO" if allowed else "WARNING"
    logger.log(level, f"audit.{action}", outcome=event.outcome, actor=event.actor_name, target=event.target)
    return event


class AuditLog:
    """Reads the events, and writes those that change nothing else."""

    def __init__(self, database: Database, *, kept_days: int, clock: Callable[[], datetime] = utc_now) -> None:
        self._database = database
        self._kept = timedelta(days=kept_days)
        self._clock = clock

    async def write(self, event: AuditEvent) -> None:
        """Write one in a transaction of its own."""
        async with self._database.write() as session:
            session.add(event)

    async def forget_old(self) -> None:
        """Remove events older than they are kept, and logins that are over."""
        async with self._database.write() as session:
            await AuditRepository(session).forget(self._clock() - self._kept)
            await CredentialRepository(session).forget_ended(self._clock())

    async def list_events(
        self, *, action: str | None, user_id: str | None, limit: int, cursor: str | None
    ) -> AuditPage:
        """A page, newest first."""
        async with self._database.read() as session:
            rows = await AuditRepository(session).list_page(
                action=action, user_id=user_id, limit=limit + 1, before=cursor
            )
        items = [audit_view(row) for row in rows[:limit]]
        return AuditPage(items=items, next_cursor=items[-1].id if len(rows) > limit else None)
