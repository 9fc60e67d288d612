"""The application as a table of contents: what it answers, what its handlers may ask for, and how errors leave it."""

from collections.abc import Sequence
from typing import Any

from litestar import Litestar
from litestar.di import Provide
from litestar.exceptions import HTTPException
from litestar.openapi import OpenAPIConfig
from litestar.types import ControllerRouterHandler

from perplex_mono import __version__
from perplex_mono.answers.routes import AnswerController
from perplex_mono.backups.routes import BackupController
from perplex_mono.container import Container
from perplex_mono.errors import PerplexError
from perplex_mono.ingestion.routes import ReadingController
from perplex_mono.library.index_routes import IndexController
from perplex_mono.library.models import LOCAL_OWNER
from perplex_mono.library.routes import CollectionController, DocumentController
from perplex_mono.operations.routes import OperationController, all_operations_feed, operation_feed
from perplex_mono.search.routes import SearchController
from perplex_mono.sources.routes import SourceController, scan_feed
from perplex_mono.web.gate import Gate, GateLimits
from perplex_mono.web.health import HEALTH_ROUTES
from perplex_mono.web.local_guard import LocalGuard
from perplex_mono.web.problems import on_error
from perplex_mono.web.rate_limit import RateLimiter
from perplex_mono.web.reference_page import ReferencePage

ROUTES: Sequence[ControllerRouterHandler] = (
    *HEALTH_ROUTES,
    CollectionController,
    IndexController,
    DocumentController,
    ReadingController,
    SourceController,
    OperationController,
    BackupController,
    SearchController,
    AnswerController,
    all_operations_feed,
    operation_feed,
    scan_feed,
)

PROVIDED = (
    "collections",
    "indexes",
    "documents",
    "uploads",
    "reading",
    "previewer",
    "searcher",
    "answers",
    "summaries",
    "sources",
    "operations",
    "backups",
    "feeds",
    "hub",
    "health_service",
    "metrics",
)


def create_app(container: Container) -> Gate:
    """The ASGI application over an open container."""
    settings = container.settings
    limits = settings.limits
    routed = Litestar(
        route_handlers=list(ROUTES),
        path=settings.server.base_path or None,
        dependencies=_dependencies(container),
        exception_handlers={PerplexError: on_error, HTTPException: on_error, Exception: on_error},
        openapi_config=openapi_config(),
        logging_config=None,  # telemetry/logs.py owns the standard logging; Litestar would print lines of its own
        request_max_body_size=limits.max_json_bytes,
    )
    guard = LocalGuard(settings.server.host, settings.server.base_path)
    per_minute = limits.requests_per_minute_anonymous if guard.is_closed else limits.requests_per_minute_user
    return Gate(
        routed,
        guard=guard,
        limiter=RateLimiter(per_minute),
        limits=GateLimits(
            body_idle_seconds=limits.body_idle_seconds,
            max_json_bytes=limits.max_json_bytes,
            max_json_depth=limits.max_json_depth,
        ),
        metrics=container.metrics,
    )


def openapi_config() -> OpenAPIConfig:
    """How the API describes itself, at `/schema`."""
    return OpenAPIConfig(title="perplex-mono", version=__version__, path="/schema", render_plugins=[ReferencePage()])


def _dependencies(container: Container) -> dict[str, Provide]:
    """Services by name, as handlers ask for them; without accounts everyone is the local user."""
    services: dict[str, Any] = {name: getattr(container, name) for name in PROVIDED}
    services["owner_id"] = LOCAL_OWNER
    return {name: _provide(service) for name, service in services.items()}


def _provide(service: Any) -> Provide:
    def give() -> Any:
        return service

    return Provide(give, sync_to_thread=False)
