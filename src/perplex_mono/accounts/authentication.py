"""From a token to a caller. Answers are remembered for two seconds, and forgotten at once when an account changes."""

import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any, cast

from perplex_mono.accounts.models import ApiKey, LoginSession, User
from perplex_mono.accounts.repository import CredentialRepository, UserRepository
from perplex_mono.accounts.tokens import Token, parse_token
from perplex_mono.errors import PerplexError, Unauthenticated
from perplex_mono.storage.database import Database
from perplex_mono.storage.identity import utc_now
from perplex_mono.web.callers import ALL_SCOPES, Caller, Scope

REMEMBERED_SECONDS = 2.0  # a change behind our back, in the database itself, counts after so long
MAX_REMEMBERED = 2_000
NOTE_USE_EVERY = timedelta(minutes=1)

NOT_GOOD = "This token is not good, or not any more; log in again or use another key."


class Authenticator:
    """Knows who is who, and whether there is anybody at all."""

    def __init__(
        self,
        database: Database,
        *,
        clock: Callable[[], datetime] = utc_now,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._clock = clock
        self._timer = timer
        self._known: OrderedDict[str, tuple[float, Any]] = OrderedDict()
        self.has_users = False
        """Whether there are accounts: until then the server is in local mode, or closed."""

    async def open(self) -> None:
        """Look whether there are users."""
        async with self._database.read() as session:
            self.has_users = await UserRepository(session).any()

    def forget(self) -> None:
        """An account or a credential changed; to be called after the commit."""
        self._known.clear()

    async def identify(self, text: str) -> Caller:
        """The caller of an access token or an API key. Raises `Unauthenticated`."""
        token = parse_token(text)
        if token is None or token.kind == "pmr":
            raise Unauthenticated("This is no access token and no API key.")
        caller = cast("Caller | None", self._remembered(token.hash))
        if caller is None:
            caller = await (self._of_key(token) if token.kind == "pmk" else self._of_session(token))
            self._remember(token.hash, caller)
        return caller

    async def is_valid(self, caller: Caller) -> bool:
        """Whether what the caller came with would still be accepted, for connections that stay."""
        if caller.credential == "local":
            return not self.has_users
        remembered = self._remembered(caller.credential_id)
        if remembered is None:
            remembered = await self._is_living(caller)
            self._remember(caller.credential_id, remembered)
        return bool(remembered)

    async def _is_living(self, caller: Caller) -> bool:
        async with self._database.read() as session:
            credentials = CredentialRepository(session)
            if caller.credential == "key":
                key = await credentials.find_key(caller.credential_id)
                return key is not None and not self._is_over(key[0].expires_at) and key[1].disabled_at is None
            login = await credentials.find_session(caller.credential_id)
        return login is not None and not self._is_over(login[0].expires_at) and login[1].disabled_at is None

    async def _of_session(self, token: Token) -> Caller:
        async with self._database.read() as session:
            found = await CredentialRepository(session).find_session(token.row_id)
        login, user = found or (None, None)
        if login is None or user is None or not token.matches(login.access_hash) or user.disabled_at is not None:
            raise Unauthenticated(NOT_GOOD)
        if self._is_over(login.access_until) or self._is_over(login.expires_at):
            raise Unauthenticated("The access token has expired; get another with the refresh token.")
        return caller_of_session(login, user)

    async def _of_key(self, token: Token) -> Caller:
        async with self._database.read() as session:
            found = await CredentialRepository(session).find_key(token.row_id)
        key, user = found or (None, None)
        if key is None or user is None or not token.matches(key.secret_hash) or user.disabled_at is not None:
            raise Unauthenticated(NOT_GOOD)
        if self._is_over(key.expires_at):
            raise Unauthenticated("The API key has expired; make another.")
        await self._note_use(key)
        return _caller_of_key(key, user)

    async def _note_use(self, key: ApiKey) -> None:
        now = self._clock()
        if key.last_used_at is not None and now - key.last_used_at < NOTE_USE_EVERY:
            return
        with suppress(PerplexError):  # a full disk is no reason to refuse a search
            async with self._database.write() as session:
                await CredentialRepository(session).note_use(key.id, now)

    def _is_over(self, moment: datetime | None) -> bool:
        return moment is not None and moment <= self._clock()

    def _remembered(self, key: str) -> object | None:
        until, value = self._known.get(key, (0.0, None))
        return value if self._timer() < until else None

    def _remember(self, key: str, value: object) -> None:
        self._known[key] = (self._timer() + REMEMBERED_SECONDS, value)
        self._known.move_to_end(key)
        if len(self._known) > MAX_REMEMBERED:
            self._known.popitem(last=False)


def caller_of_session(login: LoginSession, user: User) -> Caller:
    """Somebody who logged in may do all that the user may."""
    return Caller(user.id, user.name, scopes_of(user), "session", login.id)


def _caller_of_key(key: ApiKey, user: User) -> Caller:
    return Caller(
        user.id, user.name, frozenset(scope for scope in scopes_of(user) if scope in key.scopes), "key", key.id
    )


def scopes_of(user: User) -> frozenset[Scope]:
    """All that a user may do."""
    return ALL_SCOPES if user.role == "admin" else ALL_SCOPES - {"admin"}
