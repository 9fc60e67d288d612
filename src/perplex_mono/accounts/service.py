"""Users: the first one, those that admins make, and what may be changed of them."""

from collections.abc import Awaitable, Callable
from datetime import datetime

import msgspec
from sqlmodel.ext.asyncio.session import AsyncSession

from perplex_mono.accounts.audit import AuditLog, record
from perplex_mono.accounts.authentication import Authenticator
from perplex_mono.accounts.logins import LoginService
from perplex_mono.accounts.models import Role, User
from perplex_mono.accounts.passwords import Passwords, require_good, require_name
from perplex_mono.accounts.repository import CredentialRepository, UserRepository, name_key
from perplex_mono.accounts.schemas import (
    Action,
    FirstUser,
    NewPassword,
    NewUser,
    Tokens,
    UserChanges,
    UserPage,
    UserView,
    user_view,
)
from perplex_mono.accounts.setup_token import SetupToken
from perplex_mono.errors import Conflict, Forbidden, Unauthenticated
from perplex_mono.storage.database import Database
from perplex_mono.storage.identity import new_id, utc_now
from perplex_mono.web.callers import LOCAL_USER, Caller

SET_UP_ALREADY = "The server is set up already; an administrator makes further users."


class AccountService:
    """Makes users and changes them. Whatever takes a right away holds at once."""

    def __init__(
        self,
        database: Database,
        authenticator: Authenticator,
        passwords: Passwords,
        logins: LoginService,
        audit: AuditLog,
        setup_token: SetupToken,
        give_collection: Callable[[AsyncSession, str], Awaitable[None]],
        *,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._database = database
        self._authenticator = authenticator
        self._passwords = passwords
        self._logins = logins
        self._audit = audit
        self._setup_token = setup_token
        self._clock = clock
        self._give_collection = give_collection

    def told_setup_token(self) -> dict[str, str]:
        """What the log shows of the set-up token: itself when nobody else knows it, else where it is."""
        if self._setup_token.is_from_file:
            return {"setup_code": "with the token in auth.setup_token_file"}
        return {"setup_code": self._setup_token.value}

    async def set_up(self, first: FirstUser, caller: Caller | None, *, address: str, client: str) -> Tokens:
        """Make the first user, an admin who has from now on what local mode had, and log in.

        Local mode's own caller needs no token. Raises `Conflict` when there is a user, `Forbidden` for a wrong token,
        `InvalidInput` for the name or the password.
        """
        if self._authenticator.has_users:
            raise Conflict(SET_UP_ALREADY)
        if caller is None and not self._setup_token.matches(first.token):
            await self._audit.refused("setup", target=first.name, address=address)
            raise Forbidden(
                "The set-up token is not right; the log shows it as setup_code, or auth.setup_token_file names it."
            )
        user = await self._new_user(LOCAL_USER, first.name, first.password, "admin")
        async with self._database.write() as session:
            if await UserRepository(session).any():
                raise Conflict(SET_UP_ALREADY)
            session.add(user)
            record(session, "setup", target=first.name, address=address)
            self._authenticator.forget_with(session, has_users=True)
        return await self._logins.begin(user, address=address, client=client)

    async def create(self, new: NewUser, caller: Caller, *, address: str) -> UserView:
        """Make a user, with a collection of its own.

        Raises `InvalidInput` for the name or the password, `Conflict` for a taken name or in local mode.
        """
        if not self._authenticator.has_users:
            raise Conflict("There are no accounts yet; the first user is made by set-up.")
        user = await self._new_user(new_id(), new.name, new.password, new.role)
        async with self._database.write() as session:
            if await UserRepository(session).find_by_name(new.name) is not None:
                raise Conflict(f"There is already a user named '{new.name}'.")
            session.add(user)
            await session.flush()
            await self._give_collection(session, user.id)
            record(session, "user_created", actor=caller, target=new.name, address=address, details={"role": new.role})
        return user_view(user)

    async def list_users(self, *, limit: int, cursor: str | None) -> UserPage:
        """A page of users, by name."""
        async with self._database.read() as session:
            rows = await UserRepository(session).list_page(limit + 1, cursor)
        items = [user_view(row) for row in rows[:limit]]
        return UserPage(items=items, next_cursor=items[-1].id if len(rows) > limit else None)

    async def get(self, user_id: str) -> UserView:
        """Raises `NotFound`."""
        async with self._database.read() as session:
            return user_view(await UserRepository(session).get(user_id))

    async def change(self, user_id: str, changes: UserChanges, caller: Caller, *, address: str) -> UserView:
        """Change role, password, or whether the user may come in; its logins and keys end where that takes a right.

        Raises `NotFound`, `InvalidInput` for the password, `Conflict` when no admin would be left.
        """
        hashed = await self._hash_of(changes.password, await self.get(user_id))
        async with self._database.write(is_content=False) as session:
            user = await UserRepository(session).get(user_id)
            credentials, now = CredentialRepository(session), self._clock()
            if changes.role is not msgspec.UNSET:
                user.role = changes.role
            if hashed is not None:
                user.password_hash = hashed
            if changes.is_disabled is not msgspec.UNSET:
                user.disabled_at = (user.disabled_at or now) if changes.is_disabled else None
            if hashed is not None or user.disabled_at is not None:
                await credentials.revoke_sessions(user.id, now)
            if user.disabled_at is not None:
                await credentials.revoke_keys(user.id, now)
            user.updated_at = now
            await session.flush()
            if await UserRepository(session).count_active_admins() == 0:
                raise Conflict("Somebody must remain who is an administrator and not disabled.")
            record(session, _action(changes), actor=caller, target=user.name, address=address, details=_named(changes))
            self._authenticator.forget_with(session)
        return user_view(user)

    async def change_own_password(self, given: NewPassword, caller: Caller, *, address: str) -> None:
        """Change the caller's password; every other login of it ends.

        Raises `Unauthenticated` for the current password or when it was changed or the login ended meanwhile,
        `Overloaded` after too many of them, `InvalidInput` for the new one.
        """
        if caller.credential != "session":
            raise Conflict("Log in to change your password.")
        async with self._database.read() as session:
            user = await UserRepository(session).get(caller.user_id)
        await self._logins.require_password(user, given.current_password, address=address)
        hashed = await self._hash_of(given.new_password, user_view(user))
        async with self._database.write(is_content=False) as session:
            credentials, stored = CredentialRepository(session), await UserRepository(session).get(user.id)
            login = await credentials.find_session(caller.credential_id)
            if login is None or stored.password_hash != user.password_hash or stored.disabled_at is not None:
                raise Unauthenticated("The password was changed or the login ended meanwhile; log in again.")
            stored.password_hash = hashed or stored.password_hash
            stored.updated_at = self._clock()
            await credentials.revoke_sessions(user.id, self._clock(), but=caller.credential_id)
            record(session, "password_changed", actor=caller, target=user.name, address=address)
            self._authenticator.forget_with(session)

    async def _new_user(self, user_id: str, name: str, password: str, role: Role) -> User:
        require_name(name)
        require_good(password, name)
        hashed = await self._passwords.hash(password)
        return User(id=user_id, name=name, name_key=name_key(name), role=role, password_hash=hashed)

    async def _hash_of(self, password: str | msgspec.UnsetType, user: UserView) -> str | None:
        if password is msgspec.UNSET:
            return None
        require_good(password, user.name)
        return await self._passwords.hash(password)


def _action(changes: UserChanges) -> Action:
    if changes.is_disabled is msgspec.UNSET:
        return "user_changed"
    return "user_disabled" if changes.is_disabled else "user_enabled"


def _named(changes: UserChanges) -> dict[str, object]:
    """What was changed, for the audit log; a password only by name."""
    told: dict[str, object] = {}
    if changes.role is not msgspec.UNSET:
        told["role"] = changes.role
    if changes.is_disabled is not msgspec.UNSET:
        told["is_disabled"] = changes.is_disabled
    told["is_password_changed"] = changes.password is not msgspec.UNSET
    return told
