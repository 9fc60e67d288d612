"""Every route says what it asks of its caller, here and in the code; a route that says nothing lets nobody in."""

from collections.abc import Iterable, Iterator
from enum import Enum
from inspect import signature
from pathlib import Path
from typing import Any

import httpx
import pytest
from litestar import Litestar, Response, get
from litestar.datastructures import ResponseHeader
from litestar.handlers import HTTPRouteHandler, WebsocketRouteHandler
from litestar.openapi.datastructures import ResponseSpec
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
    "GET /api/v1/all-operations",
    "POST /api/v1/all-operations/{operation_id:str}/{action:str}",
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
# what their answers alone say of their type; they are called to see it
TYPED_BY_THEIR_ANSWERS = {
    "GET /ready": "application/json",
    "GET /db/health": "application/json",
    "GET /vector/health": "application/json",
    "GET /api/v1/documents/{document_id:str}/file": "application/octet-stream",
    "GET /api/v1/backups/{backup_id:str}/file": "application/x-tar",
}

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


async def test_no_route_but_the_reference_answers_markup(routes: list[tuple[str, Handler]]) -> None:
    assert _declaring_markup(routes) == set()
    assert _typed_by_their_answers(routes) == set(TYPED_BY_THEIR_ANSWERS)
    pages = [(f"GET /elsewhere{name}", handler) for name, handler in routes if SCHEMA in name]
    assert len(_declaring_markup(pages)) >= 2, "the reference is told by its address alone"


async def test_answers_that_say_their_type_themselves_are_no_markup(tmp_path: Path) -> None:
    async with open_app(tmp_path) as app:
        [document] = await app.ingest(("page.html", b"<!doctype html><title>Tides</title><p>The tide turns.</p>"))
        backup = (await app.client.post("/api/v1/backups", json={})).json()
        await app.settle(backup["operation_id"])
        ids = {"{document_id:str}": document["id"], "{backup_id:str}": backup["backup_id"]}
        for name, kind in TYPED_BY_THEIR_ANSWERS.items():
            path = name.removeprefix("GET ")
            for parameter, value in ids.items():
                path = path.replace(parameter, value)
            answer = await app.client.get(path)
            assert (answer.status_code, answer.headers["content-type"].partition(";")[0]) == (200, kind), name


def test_markup_is_found_wherever_a_route_declares_it() -> None:
    @get("/page", media_type="text/html; charset=utf-8")
    async def page() -> str:
        return ""

    @get("/drawing", media_type="image/SVG+xml")
    async def drawing() -> Response[bytes]:
        return Response(b"")

    @get("/header", response_headers=[ResponseHeader(name="content-type", value="application/xhtml+xml")])
    async def header() -> str:
        return ""

    @get("/refusal", responses={404: ResponseSpec(None, media_type="text/css")})
    async def refusal() -> str:
        return ""

    @get("/hidden")
    async def hidden() -> Response[str]:
        return Response("", media_type="text/html")

    @get("/harmless")
    async def harmless() -> dict[str, str]:
        return {}

    handlers = [page, drawing, header, refusal, hidden, harmless]
    found = [pair for route in Litestar(handlers, openapi_config=None).routes for pair in _handlers(route)]  # type: ignore[arg-type]
    assert _declaring_markup(found) == {"GET /page", "GET /drawing", "GET /header", "GET /refusal"}
    assert _typed_by_their_answers(found) == {"GET /hidden"}


def _declaring_markup(routes: Iterable[tuple[str, Handler]]) -> set[str]:
    """The routes outside the reference that declare a type which a browser renders or runs."""
    return {
        name
        for name, kinds in _declared_types(routes)
        if any(word in kind.lower() for kind in kinds for word in MARKUP)
    }


def _typed_by_their_answers(routes: Iterable[tuple[str, Handler]]) -> set[str]:
    return {name for name, kinds in _declared_types(routes) if "" in kinds}


def _declared_types(routes: Iterable[tuple[str, Handler]]) -> Iterator[tuple[str, list[str]]]:
    """Every HTTP route outside the reference and its media types; "" where only its answers have one."""
    for name, handler in routes:
        if isinstance(handler, HTTPRouteHandler) and not name.partition(" ")[2].startswith(SCHEMA):
            headers = [header for header in handler.resolve_response_headers() if header.name.lower() == "content-type"]
            others = [spec.media_type for spec in (handler.responses or {}).values()]
            kinds = [handler.media_type, *(header.value or "" for header in headers), *others]
            yield name, [kind.value if isinstance(kind, Enum) else kind for kind in kinds]
