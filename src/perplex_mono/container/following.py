"""Which settings take effect while the server runs, and who takes them: the one list."""

from perplex_mono.accounts.attempts import LoginAttempts
from perplex_mono.search.service import SearchOptions, SearchService
from perplex_mono.settings import LiveSettings, Settings
from perplex_mono.storage.blobs import BlobStore
from perplex_mono.telemetry.resources import ResourceProbes
from perplex_mono.web.gate import Gate, GateLimits
from perplex_mono.web.sockets import SocketHub

SEARCH = (
    "search.rrf_k",
    "search.dense_weight",
    "search.sparse_weight",
    "search.candidates",
    "search.cache_size",
    "search.timeout_seconds",
    "limits.max_query_chars",
    "limits.max_k",
)
SOCKETS = ("limits.sockets_per_user", "limits.sockets_total")
LOGINS = ("limits.login_attempts", "limits.login_window_seconds")
RESOURCES = ("limits.memory_warning_fraction", "limits.processor_warning_fraction")
DISK = ("limits.disk_reserve_bytes", "limits.disk_reserve_fraction")
GATE = (
    "limits.requests_per_minute_user",
    "limits.requests_per_minute_anonymous",
    "limits.body_idle_seconds",
    "limits.max_json_depth",
)


def follow_settings(
    live: LiveSettings,
    searcher: SearchService,
    hub: SocketHub,
    attempts: LoginAttempts,
    resources: ResourceProbes,
    blobs: BlobStore,
) -> None:
    """Hand changes to the services that can take them at once."""
    live.follow(SEARCH, lambda settings: searcher.use(search_options(settings)))
    live.follow(
        SOCKETS,
        lambda settings: hub.limit(per_user=settings.limits.sockets_per_user, total=settings.limits.sockets_total),
    )
    live.follow(
        LOGINS,
        lambda settings: attempts.limit(
            max_failures=settings.limits.login_attempts, window_seconds=settings.limits.login_window_seconds
        ),
    )
    live.follow(
        RESOURCES,
        lambda settings: resources.warn_above(
            memory_fraction=settings.limits.memory_warning_fraction,
            processor_fraction=settings.limits.processor_warning_fraction,
        ),
    )
    live.follow(
        DISK,
        lambda settings: blobs.keep_free(
            reserve_bytes=settings.limits.disk_reserve_bytes, reserve_fraction=settings.limits.disk_reserve_fraction
        ),
    )


def follow_limits(live: LiveSettings, gate: Gate) -> None:
    """Hand changes to the door of the server."""
    live.follow(GATE, lambda settings: gate.use(gate_limits(settings)))


def search_options(settings: Settings) -> SearchOptions:
    """How searches are done."""
    search, limits = settings.search, settings.limits
    return SearchOptions(
        rrf_k=search.rrf_k,
        dense_weight=search.dense_weight,
        sparse_weight=search.sparse_weight,
        candidates=search.candidates,
        max_query_chars=limits.max_query_chars,
        max_limit=limits.max_k,
        timeout_seconds=search.timeout_seconds,
        cache_size=search.cache_size,
    )


def gate_limits(settings: Settings) -> GateLimits:
    """What the door lets through."""
    limits = settings.limits
    return GateLimits(
        requests_per_minute_user=limits.requests_per_minute_user,
        requests_per_minute_anonymous=limits.requests_per_minute_anonymous,
        body_idle_seconds=limits.body_idle_seconds,
        max_json_bytes=limits.max_json_bytes,
        max_json_depth=limits.max_json_depth,
    )
