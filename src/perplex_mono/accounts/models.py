"""Who may use the server, what they come with, and what happened to either."""

from datetime import datetime
from typing import Any, Literal

from sqlalchemy import JSON, Index
from sqlmodel import Field, SQLModel

from perplex_mono.storage.identity import UtcDateTime, new_id, utc_now

Role = Literal["admin", "user"]


class User(SQLModel, table=True):
    """Somebody with a password. `name_key` is the name as it is compared: case does not count."""

    __tablename__ = "users"
    __table_args__ = (Index("uq_users_name", "name_key", unique=True),)

    id: str = Field(default_factory=new_id, primary_key=True)
    name: str
    name_key: str
    role: str
    password_hash: str
    disabled_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    created_at: datetime = Field(default_factory=utc_now, sa_type=UtcDateTime)
    updated_at: datetime = Field(default_factory=utc_now, sa_type=UtcDateTime)


class LoginSession(SQLModel, table=True):
    """One login on one device: an access token for minutes, a refresh token that is good once. Only hashes are kept.

    `family_hash` is that of what all its refresh tokens have in common: whoever comes with an old one has a copy.
    `spent_hash` is the one before the present one, which may also come from a client that lost an answer.
    """

    __tablename__ = "sessions"
    __table_args__ = (Index("ix_sessions_user", "user_id"),)

    id: str = Field(default_factory=new_id, primary_key=True)
    user_id: str = Field(foreign_key="users.id")
    access_hash: str
    access_until: datetime = Field(sa_type=UtcDateTime)
    refresh_hash: str
    family_hash: str
    spent_hash: str = ""
    refreshed_at: datetime = Field(default_factory=utc_now, sa_type=UtcDateTime)
    expires_at: datetime = Field(sa_type=UtcDateTime)
    client: str = ""
    created_at: datetime = Field(default_factory=utc_now, sa_type=UtcDateTime)
    revoked_at: datetime | None = Field(default=None, sa_type=UtcDateTime)


class ApiKey(SQLModel, table=True):
    """A credential for programs, shown once; only its hash is kept."""

    __tablename__ = "api_keys"
    __table_args__ = (Index("ix_api_keys_user", "user_id"),)

    id: str = Field(default_factory=new_id, primary_key=True)
    user_id: str = Field(foreign_key="users.id")
    name: str
    secret_hash: str
    scopes: list[str] = Field(default_factory=list, sa_type=JSON)
    created_at: datetime = Field(default_factory=utc_now, sa_type=UtcDateTime)
    expires_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    last_used_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    revoked_at: datetime | None = Field(default=None, sa_type=UtcDateTime)


class AuditEvent(SQLModel, table=True):
    """Something that concerns security: who did what to whom, from where, and whether it was allowed."""

    __tablename__ = "audit_events"
    __table_args__ = (Index("ix_audit_events_time", "time"),)

    id: str = Field(default_factory=new_id, primary_key=True)
    time: datetime = Field(default_factory=utc_now, sa_type=UtcDateTime)
    action: str
    outcome: str
    actor_id: str | None = None
    actor_name: str = ""
    target: str = ""
    address: str = ""
    details: dict[str, Any] = Field(default_factory=dict, sa_type=JSON)
