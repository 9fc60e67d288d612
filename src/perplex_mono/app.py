"""The application as a table of contents: what it answers, what its handlers may ask for, and how errors leave it."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from litestar import Litestar, Router
from litestar.config.cors import CORSConfig
from litestar.di import Provide
from litestar.exceptions import HTTPException
from litestar.openapi import OpenAPIConfig
from litestar.openapi.spec import Components, SecurityScheme
from litestar.types import ControllerRouterHandler, Scope

from perplex_mono import __version__
from perplex_mono.accounts.access import authorise
from perplex_mono.accounts.access import guard as access_guard
from perplex_mono.accounts.authentication import Authenticator
from perplex_mono.accounts.routes import ACCOUNT_ROUTES
from perplex_mono.answers.routes import AnswerController
from perplex_mono.backups.routes import BackupController
from perplex_mono.configuration.routes import SettingsController
from perplex_mono.container import Container
from perplex_mono.container.following import follow_limits, gate_limits
from perplex_mono.errors import PerplexError, Unauthenticated
from perplex_mono.ingestion.routes import ReadingController
from perplex_mono.library.index_routes import IndexController
from perplex_mono.library.routes import CollectionController, DocumentController
from perplex_mono.library.share_routes import ShareController
from perplex_mono.operations.routes import OperationController, OversightController, all_operations_feed, operation_feed
from perplex_mono.search.routes import SearchController
from perplex_mono.settings import Settings
from perplex_mono.sources.routes import SourceController, scan_feed
from perplex_mono.web.callers import PUBLIC, SCOPE_KEY, Caller, Identity
from perplex_mono.web.described_bodies import describe_bodies
from perplex_mono.web.described_problems import describe_problems
from perplex_mono.web.gate import Gate
from perplex_mono.web.guard import RequestGuard
from perplex_mono.web.health import HEALTH_ROUTES
from perplex_mono.web.problems import on_error
from perplex_mono.web.reference_page import ReferencePage

ROUTES: Sequence[ControllerRouterHandler] = (
    *HEALTH_ROUTES,
    *ACCOUNT_ROUTES,
    SettingsController,
    CollectionController,
    IndexController,
    ShareController,
    DocumentController,
    ReadingController,
    SourceController,
    OperationController,
    OversightController,
    BackupController,
    SearchController,
    AnswerController,
    all_operations_feed,
    operation_feed,
    scan_feed,
)

BEARER = SecurityScheme(
    type="http",
    scheme="bearer",
    description="An access token or an API key. Local mode, without accounts, asks for none.",
)

PROVIDED = (
    "accounts",
    "logins",
    "keys",
    "audit",
    "setting_service",
    "collections",
    "shares",
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
    "oversight",
    "backups",
    "feeds",
    "hub",
    "health_service",
    "metrics",
)


def create_app(container: Container) -> Gate:
    """The ASGI application over an open container."""
    settings = container.settings
    routed = Litestar(
        route_handlers=list(ROUTES),
        path=settings.server.base_path or None,
        dependencies=_dependencies(container),
        exception_handlers={PerplexError: on_error, HTTPException: on_error, Exception: on_error},
        guards=[access_guard],
        openapi_config=openapi_config(),
        cors_config=_cors(settings),
        logging_config=None,  # telemetry/logs.py owns the standard logging; Litestar would print lines of its own
        request_max_body_size=settings.limits.max_json_bytes,
    )
    describe_bodies(routed)
    describe_problems(routed)
    gate = Gate(
        routed,
        guard=request_guard(settings, container.authenticator),
        identify=container.authenticator.identify,
        admit_listener=partial(authorise, policy="read"),
        limits=gate_limits(settings),
        metrics=container.http_metrics,
    )
    follow_limits(container.live, gate)
    return gate


def _cors(settings: Settings) -> CORSConfig | None:
    """What a browser is told that asks whether a page of a listed origin may call: with a token, without cookies."""
    origins = [origin.lower().rstrip("/") for origin in settings.server.allowed_origins]
    if not origins:
        return None
    return CORSConfig(
        allow_origins=origins,
        allow_headers=["Authorization", "Content-Type", "X-Request-ID"],
        allow_credentials=False,
    )


def request_guard(settings: Settings, authenticator: Authenticator) -> RequestGuard:
    """What decides which requests are heard at all."""
    server = settings.server
    return RequestGuard(
        server.host,
        server.base_path,
        has_users=lambda: authenticator.has_users,
        allowed_hosts=server.allowed_hosts,
        allowed_origins=server.allowed_origins,
        trusted_proxies=server.trusted_proxies,
    )


def openapi_config() -> OpenAPIConfig:
    """How the API describes itself, at `/schema`."""
    return OpenAPIConfig(
        title="perplex-mono",
        version=__version__,
        render_plugins=[ReferencePage()],
        components=Components(security_schemes={"bearer": BEARER}),
        security=[{"bearer": []}],
        openapi_router=Router(
            path="/schema",
            route_handlers=[],
            opt=PUBLIC,
            include_in_schema=False,
            after_request=ReferencePage.allow_style,
        ),
    )


def _dependencies(container: Container) -> dict[str, Provide]:
    """Services by name, as handlers ask for them, and who is asking."""
    services = {name: _provide(getattr(container, name)) for name in PROVIDED}
    return {**services, **{name: Provide(give, sync_to_thread=False) for name, give in ASKING.items()}}


def _identity(scope: Scope) -> Identity:
    identity: Identity = scope[SCOPE_KEY]  # type: ignore[literal-required]
    return identity


def _caller(scope: Scope) -> Caller:
    caller = _identity(scope).caller
    if caller is None:
        raise Unauthenticated("Log in first.")
    return caller


def _owner_id(scope: Scope) -> str:
    return _caller(scope).user_id


ASKING: dict[str, Callable[[Scope], Any]] = {"identity": _identity, "caller": _caller, "owner_id": _owner_id}


def _provide(service: Any) -> Provide:
    def give() -> Any:
        return service

    return Provide(give, sync_to_thread=False)
