"""Accounts from the command line: through a running server as whoever the API key says, else on the data directory."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import quote

from perplex_mono.accounts.schemas import (
    FirstUser,
    KeyMade,
    KeyPage,
    Login,
    NewKey,
    NewUser,
    Tokens,
    UserChanges,
    UserPage,
    UserView,
)
from perplex_mono.errors import Forbidden, InvalidInput, PerplexError, Unauthenticated
from perplex_mono.web.callers import LOCAL_CALLER

if TYPE_CHECKING:
    from perplex_mono.cli.server_connection import ServerConnection
    from perplex_mono.container import Container

PAGE = 200
ADDRESS = "command line"


class Accounts(Protocol):
    """What the commands about users and keys ask for; answers are the API's own."""

    async def needs_token(self) -> bool:
        """Whether the first user is made with the set-up token only, as on a closed server."""
        ...

    async def set_up(self, first: FirstUser) -> UserView:
        """Make the first user. Raises `Conflict` when there is one, `Forbidden` for a wrong token."""
        ...

    def logged_in(self, login: Login | None) -> AbstractAsyncContextManager[None]:
        """Act as this user inside the block, as before when there is none. Raises `Unauthenticated`."""
        ...

    async def users(self, cursor: str | None) -> UserPage:
        """A page of users."""
        ...

    async def add_user(self, new: NewUser) -> UserView:
        """Make a user. Raises `Conflict`, `InvalidInput`."""
        ...

    async def change_user(self, user_id: str, changes: UserChanges) -> UserView:
        """Change a user. Raises `NotFound`, `Conflict`, `InvalidInput`."""
        ...

    async def keys(self, cursor: str | None) -> KeyPage:
        """A page of the caller's API keys."""
        ...

    async def add_key(self, new: NewKey) -> KeyMade:
        """Make an API key. Raises `Conflict`, `Forbidden`."""
        ...

    async def revoke_key(self, key_id: str) -> None:
        """End an API key. Raises `NotFound`."""
        ...


class ServerAccounts:
    """Over the server's HTTP API."""

    def __init__(self, server: "ServerConnection") -> None:
        self._server = server

    async def needs_token(self) -> bool:
        try:
            await self._server.send("GET", "/auth/me")
        except Forbidden:  # closed to everything but set-up
            return True
        except Unauthenticated:  # there are users, which set-up will say
            return False
        return False

    async def set_up(self, first: FirstUser) -> UserView:
        return (await self._server.call("POST", "/auth/setup", Tokens, first)).user

    @asynccontextmanager
    async def logged_in(self, login: Login | None) -> AsyncIterator[None]:
        if login is None:
            yield
            return
        self._server.authorise((await self._server.call("POST", "/auth/login", Tokens, login)).access_token)
        try:
            yield
        finally:
            with suppress(PerplexError):  # what was asked for is done; the login ends by itself
                await self._server.send("POST", "/auth/logout")

    async def users(self, cursor: str | None) -> UserPage:
        return await self._server.call("GET", "/users", UserPage, params=_page(cursor))

    async def add_user(self, new: NewUser) -> UserView:
        return await self._server.call("POST", "/users", UserView, new)

    async def change_user(self, user_id: str, changes: UserChanges) -> UserView:
        return await self._server.call("PATCH", f"/users/{quote(user_id, safe='')}", UserView, changes)

    async def keys(self, cursor: str | None) -> KeyPage:
        return await self._server.call("GET", "/api-keys", KeyPage, params=_page(cursor))

    async def add_key(self, new: NewKey) -> KeyMade:
        return await self._server.call("POST", "/api-keys", KeyMade, new)

    async def revoke_key(self, key_id: str) -> None:
        await self._server.send("DELETE", f"/api-keys/{quote(key_id, safe='')}", key=("API key", key_id))


class LocalAccounts:
    """Over the services themselves: whoever may write the data directory may do everything, as its first user."""

    def __init__(self, container: "Container") -> None:
        self._container = container

    async def needs_token(self) -> bool:
        return False

    async def set_up(self, first: FirstUser) -> UserView:
        return (await self._container.accounts.set_up(first, LOCAL_CALLER, address=ADDRESS, client=ADDRESS)).user

    @asynccontextmanager
    async def logged_in(self, login: Login | None) -> AsyncIterator[None]:
        if login is not None:
            raise InvalidInput("There is nothing to log in to: no server runs, and the data directory is open here.")
        yield

    async def users(self, cursor: str | None) -> UserPage:
        return await self._container.accounts.list_users(limit=PAGE, cursor=cursor)

    async def add_user(self, new: NewUser) -> UserView:
        return await self._container.accounts.create(new, LOCAL_CALLER, address=ADDRESS)

    async def change_user(self, user_id: str, changes: UserChanges) -> UserView:
        return await self._container.accounts.change(user_id, changes, LOCAL_CALLER, address=ADDRESS)

    async def keys(self, cursor: str | None) -> KeyPage:
        return await self._container.keys.list_keys(LOCAL_CALLER, limit=PAGE, cursor=cursor)

    async def add_key(self, new: NewKey) -> KeyMade:
        return await self._container.keys.create(new, LOCAL_CALLER, address=ADDRESS)

    async def revoke_key(self, key_id: str) -> None:
        await self._container.keys.revoke(key_id, LOCAL_CALLER, address=ADDRESS)


def _page(cursor: str | None) -> dict[str, Any]:
    return {"limit": PAGE} if cursor is None else {"limit": PAGE, "cursor": cursor}
