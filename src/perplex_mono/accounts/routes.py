"""Accounts over HTTP: set-up, logging in, users, API keys, what happened."""

from typing import Annotated, Any

from litestar import Controller, Request, delete, get, patch, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody, QueryParameter

from perplex_mono.accounts.audit import AuditLog
from perplex_mono.accounts.keys import ApiKeyService
from perplex_mono.accounts.logins import LoginService
from perplex_mono.accounts.schemas import (
    Action,
    AuditPage,
    CallerView,
    FirstUser,
    KeyMade,
    KeyPage,
    Login,
    NewKey,
    NewPassword,
    NewUser,
    Refresh,
    Tokens,
    UserChanges,
    UserPage,
    UserView,
    caller_view,
)
from perplex_mono.accounts.service import AccountService
from perplex_mono.web.callers import ADMIN, PUBLIC, READ, WRITE, Caller, Identity
from perplex_mono.web.paging import Cursor, PageLimit


class AuthController(Controller):
    """Who the caller is. Tokens go into the `Authorization` header: `Bearer <token>`."""

    path = "/api/v1/auth"
    tags = ("accounts",)

    @post("/setup", opt=PUBLIC, status_code=201, summary="Make the first user, once")
    async def set_up(
        self,
        request: Request[Any, Any, Any],
        data: JSONBody[FirstUser],
        accounts: NamedDependency[AccountService],
        identity: NamedDependency[Identity],
    ) -> Tokens:
        """An administrator, logged in. On this machine alone no token is needed."""
        return await accounts.set_up(data, identity.caller, address=identity.address, client=_client(request))

    @post("/login", opt=PUBLIC, status_code=200, summary="Log in with name and password")
    async def log_in(
        self,
        request: Request[Any, Any, Any],
        data: JSONBody[Login],
        logins: NamedDependency[LoginService],
        identity: NamedDependency[Identity],
    ) -> Tokens:
        """An access token for minutes and a refresh token that is good once."""
        return await logins.login(data, address=identity.address, client=_client(request))

    @post("/refresh", opt=PUBLIC, status_code=200, summary="Get fresh tokens for a refresh token")
    async def refresh(
        self, data: JSONBody[Refresh], logins: NamedDependency[LoginService], identity: NamedDependency[Identity]
    ) -> Tokens:
        """A fresh pair; the token that was sent is spent. One that is spent twice ends the login."""
        return await logins.refresh(data.refresh_token, address=identity.address)

    @post("/logout", opt=READ, status_code=204, summary="End this login")
    async def log_out(
        self,
        logins: NamedDependency[LoginService],
        caller: NamedDependency[Caller],
        identity: NamedDependency[Identity],
    ) -> None:
        """Its tokens are not good any more, and its feeds close."""
        await logins.logout(caller, address=identity.address)

    @get("/me", opt=READ, summary="Who am I?")
    async def me(self, caller: NamedDependency[Caller]) -> CallerView:
        """The caller, and what its credential is good for."""
        return caller_view(caller)

    @post("/password", opt=WRITE, status_code=204, summary="Change one's own password")
    async def change_password(
        self,
        data: JSONBody[NewPassword],
        accounts: NamedDependency[AccountService],
        caller: NamedDependency[Caller],
        identity: NamedDependency[Identity],
    ) -> None:
        """The caller's other logins end."""
        await accounts.change_own_password(data, caller, address=identity.address)


class UserController(Controller):
    """Users, for administrators."""

    path = "/api/v1/users"
    tags = ("accounts",)
    opt = ADMIN

    @post(summary="Make a user")
    async def create_user(
        self,
        data: JSONBody[NewUser],
        accounts: NamedDependency[AccountService],
        caller: NamedDependency[Caller],
        identity: NamedDependency[Identity],
    ) -> UserView:
        """The user, with a default collection."""
        return await accounts.create(data, caller, address=identity.address)

    @get(summary="List users by name")
    async def list_users(
        self, accounts: NamedDependency[AccountService], limit: PageLimit = 50, cursor: Cursor = None
    ) -> UserPage:
        """A page of users."""
        return await accounts.list_users(limit=limit, cursor=cursor)

    @get("/{user_id:str}", summary="Get a user")
    async def get_user(self, user_id: FromPath[str], accounts: NamedDependency[AccountService]) -> UserView:
        """The user."""
        return await accounts.get(user_id)

    @patch("/{user_id:str}", summary="Change a user's role or password, or whether it may come in")
    async def change_user(
        self,
        user_id: FromPath[str],
        data: JSONBody[UserChanges],
        accounts: NamedDependency[AccountService],
        caller: NamedDependency[Caller],
        identity: NamedDependency[Identity],
    ) -> UserView:
        """The user as it is now. A disabled user's logins, keys and feeds end."""
        return await accounts.change(user_id, data, caller, address=identity.address)


class ApiKeyController(Controller):
    """The caller's API keys."""

    path = "/api/v1/api-keys"
    tags = ("accounts",)

    @post(opt=WRITE, summary="Make an API key; its secret is shown this once")
    async def create_key(
        self,
        data: JSONBody[NewKey],
        keys: NamedDependency[ApiKeyService],
        caller: NamedDependency[Caller],
        identity: NamedDependency[Identity],
    ) -> KeyMade:
        """The key and its secret."""
        return await keys.create(data, caller, address=identity.address)

    @get(opt=READ, summary="List API keys, oldest first")
    async def list_keys(
        self,
        keys: NamedDependency[ApiKeyService],
        caller: NamedDependency[Caller],
        limit: PageLimit = 50,
        cursor: Cursor = None,
    ) -> KeyPage:
        """A page of keys, without secrets."""
        return await keys.list_keys(caller, limit=limit, cursor=cursor)

    @delete("/{key_id:str}", opt=WRITE, status_code=204, summary="Revoke an API key")
    async def revoke_key(
        self,
        key_id: FromPath[str],
        keys: NamedDependency[ApiKeyService],
        caller: NamedDependency[Caller],
        identity: NamedDependency[Identity],
    ) -> None:
        """It is refused from now on, and its feeds close."""
        await keys.revoke(key_id, caller, address=identity.address)


class AuditController(Controller):
    """What happened to accounts and rights, for administrators."""

    path = "/api/v1/audit"
    tags = ("accounts",)
    opt = ADMIN

    @get(summary="List security events, newest first")
    async def list_events(
        self,
        audit: NamedDependency[AuditLog],
        action: Annotated[Action | None, QueryParameter()] = None,
        user_id: Annotated[str | None, QueryParameter(max_length=64)] = None,
        limit: PageLimit = 50,
        cursor: Cursor = None,
    ) -> AuditPage:
        """A page of events, all or those of an action or a user."""
        return await audit.list_events(action=action, user_id=user_id, limit=limit, cursor=cursor)


def _client(request: Request[Any, Any, Any]) -> str:
    return request.headers.get("user-agent", "")


ACCOUNT_ROUTES = (AuthController, UserController, ApiKeyController, AuditController)
