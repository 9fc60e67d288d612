"""What `/metrics` shows, in Prometheus' text form: one registry a process, which every slice adds its instruments to.

Most figures are counted as things happen. Those that must be asked for (the queue, the library, the components) are
counted when somebody looks, together for everybody who looks at the same time, and within a limit of time.
"""

import asyncio
import time
from dataclasses import dataclass
from typing import Final, Protocol

from loguru import logger
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest

from perplex_mono import __version__
from perplex_mono.telemetry.labels import within

CONTENT_TYPE = "text/plain; version=0.0.4"  # charset=utf-8 is added by whoever answers
LEVELS: Final = frozenset({"debug", "info", "warning", "error", "critical"})
LAG_PROBE_SECONDS = 0.05
FIGURES_TIMEOUT_SECONDS = 2.0
_LAG_BUCKETS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)


class Figures(Protocol):
    """Gauges that are counted when somebody looks."""

    async def count(self) -> None:
        """Set them as of now; raises anything when that cannot be done."""

    def forget(self) -> None:
        """Show that they could not be counted: NaN, never an old value."""


@dataclass
class _Section:
    """Figures counted together, anew when they were tried longer ago than `keep_seconds`."""

    name: str
    figures: Figures
    timeout_seconds: float
    keep_seconds: float
    counted_at: float = float("-inf")


class Metrics:
    """The registry, and what is known of seeing itself: the loop's lag, log records, spans, figures not counted."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # each would double its series
        self.registry = CollectorRegistry()
        application = Gauge("application_info", "What runs; always 1", ["version"], registry=self.registry)
        application.labels(__version__).set(1)
        self.loop_lag = Histogram(
            "event_loop_lag_seconds", "How late the event loop is", buckets=_LAG_BUCKETS, registry=self.registry
        )
        self._log_records = Counter("log_records", "Records logged", ["level"], registry=self.registry)
        self._trace_spans = Counter(
            "trace_spans",
            "Spans given to the exporter, by what became of them; none without one",
            ["outcome"],
            registry=self.registry,
        )
        self._not_counted = Counter(
            "metrics_refresh_failures",
            "Figures that could not be counted when somebody looked",
            ["section"],
            registry=self.registry,
        )
        self._sections: dict[str, _Section] = {}
        self._counting: asyncio.Task[None] | None = None

    def count_with(
        self,
        section: str,
        figures: Figures,
        *,
        timeout_seconds: float = FIGURES_TIMEOUT_SECONDS,
        keep_seconds: float = 0.0,
    ) -> None:
        """Whom to ask about this section, how long to wait, and for how long not to ask again."""
        self._sections[section] = _Section(section, figures, timeout_seconds, keep_seconds)

    def count_spans(self, outcome: str, count: int) -> None:
        """So many spans were given to the exporter."""
        self._trace_spans.labels(outcome).inc(count)

    def count_record(self, level: str) -> None:
        """A record was logged."""
        self._log_records.labels(within(level.lower(), LEVELS)).inc()

    async def exposition(self) -> bytes:
        """The text as of now. Rendering is long for the event loop, so a thread does it."""
        if self._counting is None:
            self._counting = asyncio.create_task(self._count_all())
            self._counting.add_done_callback(self._counted)
        await asyncio.shield(self._counting)
        return await asyncio.to_thread(generate_latest, self.registry)

    def _counted(self, _: "asyncio.Task[None]") -> None:
        self._counting = None

    async def _count_all(self) -> None:
        await asyncio.gather(*(self._count(section) for section in self._sections.values()))

    async def _count(self, section: _Section) -> None:
        if time.monotonic() - section.counted_at < section.keep_seconds:
            return
        try:
            async with asyncio.timeout(section.timeout_seconds):
                await section.figures.count()
        except Exception as error:
            logger.warning("metrics.not_counted", section=section.name, reason=str(error) or type(error).__name__)
            self._not_counted.labels(section.name).inc()
            section.figures.forget()
        section.counted_at = time.monotonic()  # what failed may be slow, so it is not tried more often either

    async def watch_loop(self) -> None:
        """Measure how late the event loop wakes us, until cancelled."""
        while True:
            due = time.perf_counter() + LAG_PROBE_SECONDS
            await asyncio.sleep(LAG_PROBE_SECONDS)
            self.loop_lag.observe(max(0.0, time.perf_counter() - due))
