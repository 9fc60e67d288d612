"""Accounts as clients see them."""

from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from perplex_mono.accounts.models import ApiKey, AuditEvent, Role, User
from perplex_mono.web.callers import Caller, Scope

_NAMED = "visible characters, none of them a blank or a slash"
UserName = Annotated[str, Meta(min_length=2, max_length=64, pattern=r"^[^\s\x00-\x1f/\\]+$", description=_NAMED)]
Password = Annotated[str, Meta(max_length=1024)]
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
    "backup_started",
    "backup_fetched",
    "backup_deleted",
    "operation_steered",
]
"""What the log of security events knows."""
KeyName = Annotated[str, Meta(min_length=1, max_length=100)]


class FirstUser(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The first user, who is an admin. `token` is the one-time token of a server that is bound beyond its machine."""

    name: UserName
    password: Password
    token: str = ""


class Login(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A name and a password."""

    name: Annotated[str, Meta(max_length=256)]
    password: Password


class Refresh(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The refresh token of the answer before; it is good once."""

    refresh_token: Annotated[str, Meta(max_length=256)]


class NewPassword(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A change of one's own password."""

    current_password: Password
    new_password: Password


class UserView(msgspec.Struct, frozen=True):
    """A user."""

    id: str
    name: str
    role: str
    is_disabled: bool
    created_at: datetime


class UserPage(msgspec.Struct, frozen=True):
    """A page of users, by name."""

    items: list[UserView]
    next_cursor: str | None


class NewUser(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A user to be made."""

    name: UserName
    password: Password
    role: Role = "user"


class UserChanges(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What may be changed of a user; what is absent stays."""

    role: Role | msgspec.UnsetType = msgspec.UNSET
    is_disabled: bool | msgspec.UnsetType = msgspec.UNSET
    password: Password | msgspec.UnsetType = msgspec.UNSET


class Tokens(msgspec.Struct, frozen=True):
    """A fresh pair of tokens: `access_token` goes into the `Authorization` header as `Bearer`."""

    access_token: str
    refresh_token: str
    expires_in_seconds: int
    user: UserView
    token_type: Literal["Bearer"] = "Bearer"  # noqa: S105 - the name of the scheme


class CallerView(msgspec.Struct, frozen=True):
    """Who the server takes the caller for."""

    id: str
    name: str
    credential: str
    scopes: list[Scope]


class NewKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An API key to be made; it may never do more than the user."""

    name: KeyName
    scopes: Annotated[list[Scope], Meta(min_length=1, max_length=3)] = msgspec.field(default_factory=lambda: ["read"])
    expires_in_days: Annotated[int, Meta(ge=1, le=3650)] | None = None


class KeyView(msgspec.Struct, frozen=True):
    """An API key, without its secret."""

    id: str
    name: str
    scopes: list[str]
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None


class KeyMade(msgspec.Struct, frozen=True):
    """A new API key. `secret` is shown this once."""

    key: KeyView
    secret: str


class KeyPage(msgspec.Struct, frozen=True):
    """A page of API keys, oldest first."""

    items: list[KeyView]
    next_cursor: str | None


class AuditView(msgspec.Struct, frozen=True):
    """Something that concerns security."""

    id: str
    time: datetime
    action: str
    outcome: str
    actor_id: str | None
    actor_name: str
    target: str
    address: str
    details: dict[str, Any]


class AuditPage(msgspec.Struct, frozen=True):
    """A page of security events, newest first."""

    items: list[AuditView]
    next_cursor: str | None


def user_view(user: User) -> UserView:
    """A row as clients see it."""
    return UserView(user.id, user.name, user.role, user.disabled_at is not None, user.created_at)


def caller_view(caller: Caller) -> CallerView:
    """The caller as it sees itself."""
    return CallerView(caller.user_id, caller.name, caller.credential, sorted(caller.scopes))


def key_view(key: ApiKey, last_used_at: datetime | None) -> KeyView:
    """A row as clients see it."""
    return KeyView(key.id, key.name, key.scopes, key.created_at, key.expires_at, last_used_at)


def audit_view(event: AuditEvent) -> AuditView:
    """A row as clients see it."""
    return AuditView(
        id=event.id,
        time=event.time,
        action=event.action,
        outcome=event.outcome,
        actor_id=event.actor_id,
        actor_name=event.actor_name,
        target=event.target,
        address=event.address,
        details=event.details,
    )
