"""Every route has a declared policy: it asks whose things it may touch, or it is one of the few that touch nobody's."""

from inspect import signature

import pytest
from litestar.handlers import HTTPRouteHandler, WebsocketRouteHandler
from litestar.routes import HTTPRoute, WebSocketRoute

from tests.app_client import open_app

OF_NOBODY = {"/health", "/ready", "/db/health", "/vector/health", "/metrics"}
SCHEMA = "/schema"


async def test_every_route_asks_for_the_owner(tmp_path_factory: pytest.TempPathFactory) -> None:
    checked: set[str] = set()
    async with open_app(tmp_path_factory.mktemp("routes")) as app:
        routes = app.application._app.routes  # type: ignore[attr-defined]  # the gate wraps any ASGI application
        for route in routes:
            if route.path.startswith(SCHEMA) or route.path in OF_NOBODY:
                continue
            for handler in handlers(route):
                assert "owner_id" in signature(handler.fn).parameters, f"{route.path} does not ask whose it is"
                checked.add(route.path)
    assert len(checked) >= 15
    assert "/ws/operations" in checked


def handlers(route: HTTPRoute | WebSocketRoute) -> list[HTTPRouteHandler | WebsocketRouteHandler]:
    if isinstance(route, WebSocketRoute):
        return [route.route_handler]
    found = [entry[0] if isinstance(entry, tuple) else entry for entry in route.route_handler_map.values()]
    return [handler for handler in found if "OPTIONS" not in handler.http_methods]
