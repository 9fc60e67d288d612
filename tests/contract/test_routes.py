"""Every route says what it asks of its caller, here and in the code; a route that says nothing lets nobody in."""

from collections.abc import Iterator
from inspect import signature
from pathlib import Path
from typing import Any

import httpx
import pytest
from litestar import Litestar, get
from litestar.handlers import HTTPRouteHandler, WebsocketRouteHandler
from litestar.routes import HTTPRoute, WebSocketRoute

from perplex_mono.accounts.access import guard
from perplex_mono.errors import PerplexError
from perplex_mono.web.callers import LOCAL_CALLER, POLICY, SCOPE_KEY, Identity
from perplex_mono.web.problems import on_error
from tests.app_client import open_app

PUBLIC = {
    "GET /health",
    "GET /ready",
    "POST /api/v1/auth/setup",
    "POST /api/v1/auth/login",
    "POST /api/v1/auth/refresh",
}
ADMIN = {
    "GET /metrics",
    "POST /api/v1/users",
    "GET /api/v1/users",
    "GET /api/v1/users/{user_id:str}",
    "PATCH /api/v1/users/{user_id:str}",
    "GET /api/v1/audit",
    "GET /api/v1/settings",
    "PATCH /api/v1/settings",
    "POST /api/v1/backups",
    "GET /api/v1/backups",
    "GET /api/v1/backups/{backup_id:str}",
    "GET /api/v1/backups/{backup_id:str}/file",
    "DELETE /api/v1/backups/{backup_id:str}",
    "POST /api/v1/collections/{collection_id:str}/sources",
}
# these read, though they are sent as POST
READ_POSTS = {
    "POST /api/v1/auth/logout",
    "POST /api/v1/search",
    "POST /api/v1/answers",
    "POST /api/v1/documents/{document_id:str}/summary",
    "POST /api/v1/chunking/preview",
}
# what touches nobody's things, and so asks for no owner
OF_NOBODY = PUBLIC | {"GET /db/health", "GET /vector/health"} | ADMIN
SCHEMA = "/schema"
MARKUP = ("html", "svg", "xml", "javascript", "css")

Handler = HTTPRouteHandler | WebsocketRouteHandler


@pytest.fixture
async def routes(tmp_path: Path) -> list[tuple[str, Handler]]:
    async with open_app(tmp_path) as app:
        routed = app.application._app
        assert isinstance(routed, Litestar)
        return [pair for route in routed.routes for pair in _handlers(route)]  # type: ignore[arg-type]


def _handlers(route: HTTPRoute | WebSocketRoute) -> Iterator[tuple[str, Handler]]:
    if isinstance(route, WebSocketRoute):
        yield f"WS {route.path}", route.route_handler
        return
    for method, entry in route.route_handler_map.items():
        if method != "OPTIONS":
            yield f"{method} {route.path}", entry[0] if isinstance(entry, tuple) else entry


def _expected(name: str) -> str:
    if name in PUBLIC or name.partition(" ")[2].startswith(SCHEMA):
        return "public"
    if name in ADMIN:
        return "admin"
    return "read" if name.startswith(("GET", "WS")) or name in READ_POSTS else "write"


async def test_every_route_declares_the_policy_that_is_written_here(routes: list[tuple[str, Handler]]) -> None:
    declared = {name: handler.opt.get(POLICY) for name, handler in routes}
    assert declared == {name: _expected(name) for name in declared}
    assert set(declared) >= PUBLIC | ADMIN | READ_POSTS
    assert len(declared) > 50


async def test_every_route_asks_whose_things_it_may_touch(routes: list[tuple[str, Handler]]) -> None:
    for name, handler in routes:
        if name not in OF_NOBODY and not name.partition(" ")[2].startswith(SCHEMA):
            asked = signature(handler.fn).parameters
            assert {"owner_id", "caller"} & set(asked), f"{name} does not ask whose it is"


async def test_a_route_without_a_policy_lets_nobody_in() -> None:
    @get("/forgotten")
    async def forgotten() -> str:
        return "in"

    async def as_admin(scope: Any, receive: Any, send: Any) -> None:
        scope[SCOPE_KEY] = Identity(LOCAL_CALLER)
        await routed(scope, receive, send)

    routed = Litestar([forgotten], guards=[guard], exception_handlers={PerplexError: on_error})
    async with httpx.AsyncClient(transport=httpx.ASGITransport(as_admin), base_url="http://localhost") as client:
        assert (await client.get("/forgotten")).status_code == 403
