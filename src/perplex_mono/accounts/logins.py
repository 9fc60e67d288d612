"""Logging in and staying so: short access tokens, and refresh tokens that are good once."""

from collections.abc import Callable
from datetime import datetime, timedelta

from perplex_mono.accounts.attempts import LoginAttempts
from perplex_mono.accounts.audit import AuditLog, record
from perplex_mono.accounts.authentication import Authenticator, caller_of_session
from perplex_mono.accounts.models import LoginSession, User
from perplex_mono.accounts.passwords import Passwords
from perplex_mono.accounts.repository import CredentialRepository, UserRepository, name_key
from perplex_mono.accounts.schemas import Login, Tokens, user_view
from perplex_mono.accounts.tokens import family_hash, new_family, new_refresh_token, new_token, parse_token
from perplex_mono.errors import Conflict, Unauthenticated
from perplex_mono.storage.database import Database
from perplex_mono.storage.identity import new_id, utc_now
from perplex_mono.web.callers import Caller

LOST_ANSWER_SECONDS = 10.0
UNKNOWN_NAME = "(unknown name)"
NOT_RIGHT = "The name or the password is not right."
MAX_CLIENT_CHARS = 200


class LoginService:
    """Begins, prolongs and ends logins."""

    def __init__(
        self,
        database: Database,
        authenticator: Authenticator,
        passwords: Passwords,
        attempts: LoginAttempts,
        audit: AuditLog,
        *,
        access_minutes: float,
        refresh_days: float,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._database = database
        self._authenticator = authenticator
        self._passwords = passwords
        self._attempts = attempts
        self._audit = audit
        self._access = timedelta(minutes=access_minutes)
        self._refresh = timedelta(days=refresh_days)
        self._clock = clock

    async def login(self, given: Login, *, address: str, client: str) -> Tokens:
        """Begin a login. Raises `Unauthenticated`, or `Overloaded` after too many failures.

        Which of name and password was wrong is not told, nor does the time it takes tell it.
        """
        self._attempts.require_allowed(address, name_key(given.name))
        async with self._database.read() as session:
            user = await UserRepository(session).find_by_name(given.name)
        is_right = await self._passwords.verify(user.password_hash if user else None, given.password)
        if user is None or not is_right or user.disabled_at is not None:
            self._attempts.failed(address, name_key(given.name))
            # What was typed as a name that nobody has may be a password in the wrong field.
            await self._audit.refused("login", target=user.name if user else UNKNOWN_NAME, address=address)
            raise Unauthenticated(NOT_RIGHT)
        self._attempts.succeeded(address, name_key(given.name))
        is_outdated = self._passwords.is_outdated(user.password_hash)
        rehashed = await self._passwords.hash(given.password) if is_outdated else None
        return await self.begin(user, address=address, client=client, rehashed=rehashed)

    async def require_password(self, user: User, password: str, *, address: str) -> None:
        """Have somebody who is logged in prove it again, as limited as a login. Raises as `login` does."""
        self._attempts.require_allowed(address, user.name_key)
        if not await self._passwords.verify(user.password_hash, password):
            self._attempts.failed(address, user.name_key)
            await self._audit.refused("password_changed", target=user.name, address=address)
            raise Unauthenticated("The current password is not right.")
        self._attempts.succeeded(address, user.name_key)

    async def begin(self, user: User, *, address: str, client: str, rehashed: str | None = None) -> Tokens:
        """A login of a user who proved it with the password whose hash `user` has; `rehashed` takes its place.

        Raises `Unauthenticated` when that password was changed, or the user disabled, while it was checked.
        """
        now, family = self._clock(), new_family()
        login = LoginSession(
            id=new_id(),
            user_id=user.id,
            access_hash="",
            access_until=now,
            refresh_hash="",
            family_hash=family_hash(family),
            refreshed_at=now,
            expires_at=now + self._refresh,
            client=client[:MAX_CLIENT_CHARS],
        )
        tokens = self._renew(login, user, family)
        async with self._database.write(is_content=False) as session:
            now_stored = await UserRepository(session).get(user.id)
            if now_stored.password_hash != user.password_hash or now_stored.disabled_at is not None:
                raise Unauthenticated(NOT_RIGHT)
            now_stored.password_hash = rehashed or now_stored.password_hash
            session.add(login)
            record(session, "login", actor=caller_of_session(login, user), target=user.name, address=address)
        return tokens

    async def refresh(self, refresh_token: str, *, address: str) -> Tokens:
        """A fresh pair for a refresh token, which is spent with that. Raises `Unauthenticated`.

        A spent token that comes again, however old, is in two hands: the login ends. Within seconds the last one may be
        of a client that lost the answer or asked twice; that one is told so (`Conflict`), and nothing ends.
        """
        token = parse_token(refresh_token)
        if token is None or token.kind != "pmr":
            raise Unauthenticated("This is no refresh token.")
        async with self._database.write(is_content=False) as session:
            found = await CredentialRepository(session).find_session(token.row_id)
            login, user = found or (None, None)
            if login is None or user is None or user.disabled_at is not None or login.expires_at <= self._clock():
                raise Unauthenticated("The login has ended; log in again.")
            if token.matches(login.refresh_hash):
                return self._renew(login, user, token.family)
            if not token.is_of_family(login.family_hash):
                raise Unauthenticated("The login has ended; log in again.")
            is_recent = (self._clock() - login.refreshed_at).total_seconds() < LOST_ANSWER_SECONDS
            if is_recent and token.matches(login.spent_hash):
                raise Conflict("This refresh token was used a moment ago; use the one that was given for it.")
            login.revoked_at = self._clock()
            actor = caller_of_session(login, user)
            record(session, "token_reuse", actor=actor, target=user.name, address=address, allowed=False)
            self._authenticator.forget_with(session)
        raise Unauthenticated("This refresh token was used before, so its login was ended; log in again.")

    async def logout(self, caller: Caller, *, address: str) -> None:
        """End the caller's login; what it came with is not good any more. Raises `Conflict` for other credentials."""
        if caller.credential != "session":
            raise Conflict("Only a login can be ended so; API keys are revoked, and local mode has none.")
        async with self._database.write(is_content=False) as session:
            found = await CredentialRepository(session).find_session(caller.credential_id)
            if found is not None:
                found[0].revoked_at = self._clock()
            record(session, "logout", actor=caller, address=address)
            self._authenticator.forget_with(session)

    def _renew(self, login: LoginSession, user: User, family: str) -> Tokens:
        now = self._clock()
        access, refresh = new_token("pma", login.id), new_refresh_token(login.id, family)
        login.access_hash, login.access_until = access.hash, now + self._access
        login.spent_hash, login.refresh_hash, login.refreshed_at = login.refresh_hash, refresh.hash, now
        return Tokens(
            access_token=str(access),
            refresh_token=str(refresh),
            expires_in_seconds=int(self._access.total_seconds()),
            user=user_view(user),
        )
