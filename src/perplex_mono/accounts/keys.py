"""API keys: credentials for programs, shown once, never good for more than their user."""

from collections.abc import Callable
from datetime import datetime, timedelta

from perplex_mono.accounts.audit import record
from perplex_mono.accounts.authentication import Authenticator
from perplex_mono.accounts.models import ApiKey
from perplex_mono.accounts.repository import CredentialRepository
from perplex_mono.accounts.schemas import KeyMade, KeyPage, NewKey, key_view
from perplex_mono.accounts.tokens import new_token
from perplex_mono.errors import Conflict, Forbidden
from perplex_mono.storage.database import Database
from perplex_mono.storage.identity import new_id, utc_now
from perplex_mono.web.callers import Caller

MAX_KEYS = 100


class ApiKeyService:
    """The caller's own keys."""

    def __init__(
        self, database: Database, authenticator: Authenticator, *, clock: Callable[[], datetime] = utc_now
    ) -> None:
        self._database = database
        self._authenticator = authenticator
        self._clock = clock

    async def create(self, new: NewKey, caller: Caller, *, address: str) -> KeyMade:
        """Make a key. Raises `Forbidden` for scopes that the caller has not, `Conflict` in local mode or for too many.

        A key makes no keys: what was made with a leaked one would outlive it.
        """
        _require_login(caller)
        if not self._authenticator.has_users:
            raise Conflict("There are no accounts yet, so nothing asks for a key; the first user is made by set-up.")
        beyond = sorted(set(new.scopes) - caller.scopes)
        if beyond:
            raise Forbidden(f"You may not give a key the scope {', '.join(repr(scope) for scope in beyond)}.")
        row_id = new_id()
        token = new_token("pmk", row_id)
        key = ApiKey(
            id=row_id,
            user_id=caller.user_id,
            name=new.name,
            secret_hash=token.hash,
            scopes=sorted(set(new.scopes)),
            expires_at=self._clock() + timedelta(days=new.expires_in_days) if new.expires_in_days is not None else None,
        )
        async with self._database.write(is_content=False) as session:
            if len(await CredentialRepository(session).list_keys(caller.user_id, MAX_KEYS, None)) >= MAX_KEYS:
                raise Conflict(f"You have {MAX_KEYS} keys; revoke one first.")
            session.add(key)
            record(
                session, "key_created", actor=caller, target=new.name, address=address, details={"scopes": key.scopes}
            )
        return KeyMade(key=key_view(key, None), secret=str(token))

    async def list_keys(self, caller: Caller, *, limit: int, cursor: str | None) -> KeyPage:
        """A page of the caller's keys, oldest first."""
        async with self._database.read() as session:
            rows = await CredentialRepository(session).list_keys(caller.user_id, limit + 1, cursor)
        items = [key_view(row, self._authenticator.last_used(row)) for row in rows[:limit]]
        return KeyPage(items=items, next_cursor=items[-1].id if len(rows) > limit else None)

    async def revoke(self, key_id: str, caller: Caller, *, address: str) -> None:
        """End a key, at once. Raises `NotFound`, or `Forbidden` for a key that would end another."""
        _require_login(caller)
        async with self._database.write(is_content=False) as session:
            key = await CredentialRepository(session).get_key(key_id, caller.user_id)
            key.revoked_at = self._clock()
            record(session, "key_revoked", actor=caller, target=key.name, address=address)
            self._authenticator.forget_with(session)


def _require_login(caller: Caller) -> None:
    if caller.credential == "key":
        raise Forbidden("Keys are made and ended by somebody who logged in, not by a key.")
