"""Reads and writes of the tables of accounts; every function works inside the caller's transaction."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import delete, update
from sqlmodel import col, func, select
from sqlmodel.ext.asyncio.session import AsyncSession

from perplex_mono.accounts.models import ApiKey, AuditEvent, LoginSession, User
from perplex_mono.errors import NotFound


def name_key(name: str) -> str:
    """A name as names are compared."""
    return name.strip().casefold()


class UserRepository:
    """Users in one session."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def get(self, user_id: str) -> User:
        """Raises `NotFound`."""
        user = await self._session.get(User, user_id)
        if user is None:
            raise NotFound("user", user_id)
        return user

    async def find_by_name(self, name: str) -> User | None:
        """The user of that name, whatever its case."""
        return (await self._session.exec(select(User).where(User.name_key == name_key(name)))).first()

    async def any(self) -> bool:
        """Whether there is a user."""
        return (await self._session.exec(select(User.id).limit(1))).first() is not None

    async def list_page(self, limit: int, after: str | None) -> Sequence[User]:
        """By name, at most `limit`, after the user of that id."""
        query = select(User).order_by(col(User.name_key)).limit(limit)
        if after is not None:
            query = query.where(col(User.name_key) > select(User.name_key).where(User.id == after).scalar_subquery())
        return (await self._session.exec(query)).all()

    async def count_active_admins(self) -> int:
        """Admins who may log in."""
        query = select(func.count()).select_from(User).where(User.role == "admin", col(User.disabled_at).is_(None))
        return (await self._session.exec(query)).one()


class CredentialRepository:
    """Login sessions and API keys in one session."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def find_session(self, session_id: str) -> tuple[LoginSession, User] | None:
        """A login session that was not revoked, and its user."""
        query = (
            select(LoginSession, User)
            .join(User, col(User.id) == col(LoginSession.user_id))
            .where(LoginSession.id == session_id, col(LoginSession.revoked_at).is_(None))
        )
        return (await self._session.exec(query)).first()

    async def find_key(self, key_id: str) -> tuple[ApiKey, User] | None:
        """An API key that was not revoked, and its user."""
        query = (
            select(ApiKey, User)
            .join(User, col(User.id) == col(ApiKey.user_id))
            .where(ApiKey.id == key_id, col(ApiKey.revoked_at).is_(None))
        )
        return (await self._session.exec(query)).first()

    async def get_key(self, key_id: str, user_id: str) -> ApiKey:
        """The user's living key. Raises `NotFound`."""
        found = await self.find_key(key_id)
        if found is None or found[0].user_id != user_id:
            raise NotFound("API key", key_id)
        return found[0]

    async def list_keys(self, user_id: str, limit: int, after: str | None) -> Sequence[ApiKey]:
        """The user's living keys, oldest first."""
        query = select(ApiKey).where(ApiKey.user_id == user_id, col(ApiKey.revoked_at).is_(None))
        if after is not None:
            query = query.where(col(ApiKey.id) > after)
        return (await self._session.exec(query.order_by(col(ApiKey.id)).limit(limit))).all()

    async def revoke_sessions(self, user_id: str, now: datetime, *, but: str | None = None) -> None:
        """End every login of a user; `but` is the one that may stay."""
        living = (col(LoginSession.user_id) == user_id) & col(LoginSession.revoked_at).is_(None)
        if but is not None:
            living &= col(LoginSession.id) != but
        await self._session.exec(update(LoginSession).where(living).values(revoked_at=now))

    async def revoke_keys(self, user_id: str, now: datetime) -> None:
        """End every API key of a user."""
        living = (col(ApiKey.user_id) == user_id) & col(ApiKey.revoked_at).is_(None)
        await self._session.exec(update(ApiKey).where(living).values(revoked_at=now))

    async def note_use(self, key_id: str, now: datetime) -> None:
        """Remember when a key was last used."""
        await self._session.exec(update(ApiKey).where(col(ApiKey.id) == key_id).values(last_used_at=now))

    async def forget_ended(self, before: datetime) -> None:
        """Remove logins and keys that ended before that time."""
        for table in (LoginSession, ApiKey):
            ended = (col(table.expires_at) < before) | (col(table.revoked_at) < before)
            await self._session.exec(delete(table).where(ended))


class AuditRepository:
    """What happened, in one session."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def list_page(
        self, *, action: str | None, user_id: str | None, limit: int, before: str | None
    ) -> Sequence[AuditEvent]:
        """Newest first, at most `limit`, older than the id `before`."""
        query = select(AuditEvent)
        if action is not None:
            query = query.where(AuditEvent.action == action)
        if user_id is not None:
            query = query.where(AuditEvent.actor_id == user_id)
        if before is not None:
            query = query.where(col(AuditEvent.id) < before)
        return (await self._session.exec(query.order_by(col(AuditEvent.id).desc()).limit(limit))).all()

    async def forget(self, before: datetime) -> None:
        """Remove what happened before that time."""
        await self._session.exec(delete(AuditEvent).where(col(AuditEvent.time) < before))
