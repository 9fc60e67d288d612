"""From a token to a caller. Answers are remembered for two seconds, and forgotten at once when an account changes."""

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlmodel.ext.asyncio.session import AsyncSession

from perplex_mono.accounts.models import ApiKey, LoginSession, User
from perplex_mono.accounts.repository import CredentialRepository, UserRepository
from perplex_mono.accounts.tokens import parse_token
from perplex_mono.errors import Unauthenticated
from perplex_mono.storage.database import Database, after_commit
from perplex_mono.storage.identity import utc_now
from perplex_mono.web.callers import ALL_SCOPES, Caller, Scope

REMEMBERED_SECONDS = 2.0  # a change behind our back, in the database itself, counts for requests after so long
FEED_LOOK_SECONDS = 30.0  # and so long for feeds, each of which asks every two seconds
MAX_REMEMBERED = 2_000
END_OF_TIME = datetime.max.replace(tzinfo=UTC)

NOT_GOOD = "This token is not good, or not any more; log in again or use another key."


@dataclass(frozen=True)
class _Known:
    """A caller as it was found, how long its credential is good, and until when nobody need look again."""

    caller: Caller
    good_until: datetime
    fresh_until: float


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
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._generation = 0
        self._uses: dict[str, datetime] = {}
        self.has_users = False
        """Whether there are accounts: until then the server is in local mode, or closed."""

    async def open(self) -> None:
        """Look whether there are users."""
        async with self._database.read() as session:
            self.has_users = await UserRepository(session).any()

    def forget_with(self, session: AsyncSession, *, has_users: bool = False) -> None:
        """An account or a credential changes in this transaction: once it is durable, nothing is remembered.

        `has_users`: it makes the first user, so there are accounts from then on.
        """
        after_commit(session, self.forget)
        if has_users:
            after_commit(session, self._begin_accounts)

    def forget(self) -> None:
        """Look everybody up again; what is being looked up now is not remembered either."""
        self._generation += 1
        self._known.clear()

    async def identify(self, text: str) -> Caller:
        """The caller of an access token or an API key. Raises `Unauthenticated`."""
        token = parse_token(text)
        if token is None or token.kind == "pmr":
            raise Unauthenticated("This is no access token and no API key.")
        known = self._remembered(token.hash)
        if known is None:
            generation = self._generation
            row, user = await self._find(token.kind == "pmk", token.row_id)
            stored = row.secret_hash if isinstance(row, ApiKey) else row.access_hash if row else ""
            if row is None or user is None or not token.matches(stored):
                raise Unauthenticated(NOT_GOOD)
            known = self._judged(row, user, REMEMBERED_SECONDS)
            self._remember(token.hash, known, generation)
        if known.caller.credential == "key":
            self._uses[known.caller.credential_id] = self._clock()
        return known.caller

    async def is_valid(self, caller: Caller) -> bool:
        """Whether what the caller came with would still be accepted, for connections that stay.

        A login counts by its newest access token: whoever goes on refreshing it stays.
        """
        if caller.credential == "local":
            return not self.has_users
        known = self._remembered(caller.credential_id)
        if known is None:
            generation = self._generation
            row, user = await self._find(caller.credential == "key", caller.credential_id)
            try:
                known = self._judged(row, user, FEED_LOOK_SECONDS)
            except Unauthenticated:
                return False
            self._remember(caller.credential_id, known, generation)
        return caller.scopes <= known.caller.scopes

    def last_used(self, key: ApiKey) -> datetime | None:
        """When a key was last used, written down or not yet."""
        return self._uses.get(key.id, key.last_used_at)

    async def write_uses(self) -> None:
        """Write down when keys were used: now and then, for a request must not wait for a disk because of it."""
        uses = dict(self._uses)
        if not uses:
            return
        async with self._database.write(is_content=False) as session:
            for key_id, moment in uses.items():
                await CredentialRepository(session).note_use(key_id, moment)
        self._uses = {key_id: moment for key_id, moment in self._uses.items() if uses.get(key_id) != moment}

    def _begin_accounts(self) -> None:
        self.has_users = True

    async def _find(self, is_key: bool, row_id: str) -> tuple[ApiKey | LoginSession | None, User | None]:
        async with self._database.read() as session:
            credentials = CredentialRepository(session)
            found = await (credentials.find_key(row_id) if is_key else credentials.find_session(row_id))
        return found or (None, None)

    def _judged(self, row: ApiKey | LoginSession | None, user: User | None, fresh_seconds: float) -> _Known:
        """What is known of a credential that was found. Raises `Unauthenticated` when it is not good any more."""
        if row is None or user is None or user.disabled_at is not None:
            raise Unauthenticated(NOT_GOOD)
        if isinstance(row, ApiKey):
            good_until, caller = row.expires_at or END_OF_TIME, _caller_of_key(row, user)
        else:
            good_until, caller = min(row.access_until, row.expires_at), caller_of_session(row, user)
        if good_until <= self._clock():
            advice = "make another" if isinstance(row, ApiKey) else "get another with the refresh token"
            raise Unauthenticated(f"This token has expired; {advice}.")
        return _Known(caller, good_until, self._timer() + fresh_seconds)

    def _remembered(self, key: str) -> _Known | None:
        known = self._known.get(key)
        if known is None or known.fresh_until <= self._timer() or known.good_until <= self._clock():
            return None
        return known

    def _remember(self, key: str, known: _Known, generation: int) -> None:
        if generation != self._generation:
            return  # something changed while this was looked up
        self._known[key] = known
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
