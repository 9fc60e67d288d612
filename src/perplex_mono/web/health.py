"""Whether the process lives, and whether it can do its work."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Literal

import msgspec
from litestar import Response, get
from litestar.di import NamedDependency
from msgspec.structs import replace

from perplex_mono import __version__
from perplex_mono.telemetry.metrics import CONTENT_TYPE, Metrics
from perplex_mono.telemetry.process_metrics import ProcessMetrics
from perplex_mono.telemetry.supervision import ComponentStatus
from perplex_mono.web.callers import ADMIN, PUBLIC, READ, Identity

PROBE_TIMEOUT_SECONDS = 5.0
READY_KEEP_SECONDS = 1.0
Probe = Callable[[], ComponentStatus | Awaitable[ComponentStatus]]


class MemoryView(msgspec.Struct, frozen=True):
    """Memory of the process."""

    rss_bytes: int


class HealthView(msgspec.Struct, frozen=True):
    """The process is alive."""

    status: Literal["ok"]
    timestamp: datetime
    uptime_seconds: float
    version: str
    memory: MemoryView


class ComponentView(msgspec.Struct, frozen=True, omit_defaults=True):
    """How one component is, since when, and why if it is not well."""

    status: str
    since: datetime
    reason: str | None = None
    restarts: int = 0


class ReadyView(msgspec.Struct, frozen=True):
    """Ready, degraded (some component is not well, the server works) or unready."""

    status: Literal["ready", "degraded", "unready"]
    components: dict[str, ComponentView]

    def without_reasons(self) -> "ReadyView":
        """For strangers: reasons name folders and files."""
        return ReadyView(self.status, {name: replace(view, reason=None) for name, view in self.components.items()})


class HealthService:
    """Asks every component how it is. `vital` ones make the server unready, the others only degraded."""

    def __init__(self, process: ProcessMetrics, vital: Mapping[str, Probe], others: Mapping[str, Probe]) -> None:
        self._process = process
        self._vital = frozenset(vital)
        self._probes: dict[str, Probe] = {**vital, **others}
        self._started = time.monotonic()
        self._is_stopping = False
        self._seen: dict[str, tuple[str, datetime]] = {}
        self._looking = asyncio.Lock()
        self._view: ReadyView | None = None
        self._looked_at = 0.0

    def stop(self) -> None:
        """From now on the server is unready: it is shutting down."""
        self._is_stopping = True
        self._view = None

    def health(self) -> HealthView:
        """Alive; touches nothing that could hang."""
        return HealthView(
            status="ok",
            timestamp=datetime.now(UTC),
            uptime_seconds=round(time.monotonic() - self._started, 3),
            version=__version__,
            memory=MemoryView(rss_bytes=self._process.resident_memory()),
        )

    async def ready(self) -> ReadyView:
        """All components by name, as they were at most a second ago: anybody may ask, and looking costs a commit."""
        async with self._looking:
            if self._view is None or time.monotonic() - self._looked_at > READY_KEEP_SECONDS:
                self._view = await self._look()
                self._looked_at = time.monotonic()
            return self._view

    async def _look(self) -> ReadyView:
        statuses = await asyncio.gather(*(_ask(name, probe) for name, probe in self._probes.items()))
        by_name = dict(zip(self._probes, statuses, strict=True))
        if self._is_stopping:
            by_name["server"] = ComponentStatus("server", "down", "shutting down")
        is_vital_down = self._is_stopping or any(by_name[name].state == "down" for name in self._vital)
        is_all_well = all(status.state == "ok" for status in statuses)
        return ReadyView(
            status="unready" if is_vital_down else "ready" if is_all_well else "degraded",
            components={name: self._component(name, status) for name, status in by_name.items()},
        )

    async def component(self, name: str) -> ComponentView:
        """One component."""
        return self._component(name, await _ask(name, self._probes[name]))

    def _component(self, name: str, status: ComponentStatus) -> ComponentView:
        """With the time since when it has been so: its own word, else the first look that found it so."""
        state, since = self._seen.get(name, ("", datetime.now(UTC)))
        if state != status.state:
            since = datetime.now(UTC)
            self._seen[name] = status.state, since
        return ComponentView(status.state, status.since or since, status.reason, status.restarts)


async def _ask(name: str, probe: Probe) -> ComponentStatus:
    try:
        async with asyncio.timeout(PROBE_TIMEOUT_SECONDS):
            status = probe()
            return status if isinstance(status, ComponentStatus) else await status
    except Exception as error:
        reason = str(error) or type(error).__name__
        return ComponentStatus(name=name, state="down", reason=reason)


@get("/health", opt=PUBLIC, tags=["health"], summary="Is the process alive?", sync_to_thread=False)
def health(health_service: NamedDependency[HealthService]) -> HealthView:
    """Answers without touching anything that could hang."""
    return health_service.health()


@get("/ready", opt=PUBLIC, tags=["health"], summary="Can the server do its work?")
async def ready(
    health_service: NamedDependency[HealthService], identity: NamedDependency[Identity]
) -> Response[ReadyView]:
    """200 when ready or degraded, 503 when unready; every component by name. Admins are told why."""
    view = await health_service.ready()
    if identity.caller is None or not identity.caller.is_admin:
        view = view.without_reasons()
    return Response(view, status_code=503 if view.status == "unready" else 200)


@get("/db/health", opt=READ, tags=["health"], summary="Can the database be read and written?")
async def database_health(health_service: NamedDependency[HealthService]) -> Response[ComponentView]:
    """Reads and writes a row."""
    return _component_response(await health_service.component("database"))


@get("/vector/health", opt=READ, tags=["health"], summary="Can the vector index be opened?")
async def vector_health(health_service: NamedDependency[HealthService]) -> Response[ComponentView]:
    """Opens and counts every table."""
    return _component_response(await health_service.component("vectors"))


@get(
    "/metrics",
    opt=ADMIN,
    tags=["health"],
    summary="Figures in Prometheus' text form",
    media_type=CONTENT_TYPE,
)
async def metrics_text(metrics: NamedDependency[Metrics]) -> bytes:
    """The exposition text."""
    return await metrics.exposition()


def _component_response(view: ComponentView) -> Response[ComponentView]:
    return Response(view, status_code=503 if view.status == "down" else 200)


HEALTH_ROUTES = (health, ready, database_health, vector_health, metrics_text)
