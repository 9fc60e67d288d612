"""Requests, feeds and components in figures. The paths that people make up are one endpoint, `unmatched`."""

from collections.abc import Iterator
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from perplex_mono.telemetry.labels import OTHER, within
from perplex_mono.web.health import HealthService, ReadyView

METHODS: Final = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
UNMATCHED: Final = "unmatched"
LEFT: Final = "client"
_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_CODES: Final = frozenset({LEFT, "1008", "1009", "1011", "1012", "1013", "4401"})
_COMPONENT_LEVELS: Final = {"ok": 0, "degraded": 1, "down": 2}
_SERVER_LEVELS: Final = {"ready": 0, "degraded": 1, "unready": 2}


class HttpMetrics:
    """Requests by the route that answered them."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.in_progress = Gauge("http_requests_in_progress", "Requests being answered", registry=registry)
        self._requests = Counter(
            "http_requests",
            "Requests answered; probes of /health and /ready do not count",
            ["method", "endpoint", "status"],
            registry=registry,
        )
        self._seconds = Histogram(
            "http_request_duration_seconds",
            "Time from a request to the end of its answer, its body included",
            ["method", "endpoint"],
            buckets=_BUCKETS,
            registry=registry,
        )

    def record(self, method: str, endpoint: str, status: int, seconds: float) -> None:
        """Count an answer of the route with this template, or of `UNMATCHED`."""
        method = within(method, METHODS)
        code = str(status) if 100 <= status <= 599 else OTHER
        self._requests.labels(method, endpoint, code).inc()
        self._seconds.labels(method, endpoint).observe(seconds)


class SocketMetrics:
    """Feeds over WebSocket."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.open = Gauge("active_websocket_connections", "Open feeds", registry=registry)
        self.connections = Counter("websocket_connections", "Feeds asked for", ["outcome"], registry=registry)
        self.messages = Counter("websocket_messages", "Messages sent to feeds", registry=registry)
        self._closes = Counter(
            "websocket_closes", "How opened feeds ended; client: it left", ["code"], registry=registry
        )

    def closed(self, code: int | None) -> None:
        """An opened feed ended with this code of ours; None when the client left."""
        self._closes.labels(LEFT if code is None else within(str(code), _CODES)).inc()


class ComponentMetrics(Collector):
    """How the components are, as `/ready` tells it."""

    def __init__(self, health: HealthService, registry: CollectorRegistry) -> None:
        self._health = health
        self._view: ReadyView | None = None
        registry.register(self)

    async def count(self) -> None:
        """Ask every component; each has a few seconds to answer."""
        self._view = await self._health.ready()

    def forget(self) -> None:
        """Nothing is known."""
        self._view = None

    def collect(self) -> Iterator[Metric]:
        """What was last told."""
        view = self._view
        status = GaugeMetricFamily(
            "component_status", "How a component is: 0 ok, 1 degraded, 2 down", labels=["component"]
        )
        restarts = CounterMetricFamily(
            "component_restarts", "Restarts of a component since the server started", labels=["component"]
        )
        for name, component in view.components.items() if view else ():
            status.add_metric([name], _COMPONENT_LEVELS.get(component.status, 2))
            restarts.add_metric([name], component.restarts)
        level = _SERVER_LEVELS[view.status] if view else float("nan")
        yield from (
            status,
            restarts,
            GaugeMetricFamily("server_status", "As /ready: 0 ready, 1 degraded, 2 unready", level),
        )
