"""Spans around requests and pipeline steps, exported where the settings say (nowhere by default)."""

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final, Literal

from loguru import logger
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter, SpanExporter, SpanExportResult
from opentelemetry.trace import Link, Span, SpanContext, SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import AttributeValue

from perplex_mono import __version__
from perplex_mono.settings import TelemetrySettings
from perplex_mono.telemetry.redaction import redacted_text

EXPORT_TIMEOUT_SECONDS: Final = 5.0
STOP_SECONDS: Final = 3.0
MAX_WAITING_SPANS: Final = 4096
EXPORT_EVERY_MILLISECONDS: Final = 2000
MAX_LINKS: Final = 32
_PROPAGATOR = TraceContextTextMapPropagator()
_HEADER: Final = "traceparent"

Outcome = Literal["exported", "failed"]


class Tracing:
    """The process's tracer provider. Spans are recorded even without an exporter, so that logs carry trace ids."""

    def __init__(self, settings: TelemetrySettings, exporter: SpanExporter | None = None) -> None:
        resource = Resource.create({"service.name": settings.service_name, "service.version": __version__})
        self._provider = TracerProvider(resource=resource)
        chosen = exporter or _exporter(settings)
        self._exporter = _WatchedExporter(chosen) if chosen is not None else None
        if self._exporter is not None:
            self._provider.add_span_processor(
                BatchSpanProcessor(
                    self._exporter,
                    max_queue_size=MAX_WAITING_SPANS,
                    schedule_delay_millis=EXPORT_EVERY_MILLISECONDS,
                )
            )
        trace.set_tracer_provider(self._provider)

    def count_with(self, count: Callable[[Outcome, int], None]) -> None:
        """Call `count(outcome, spans)`, on the exporting thread, for every batch from now on."""
        if self._exporter is not None:
            self._exporter.count = count

    def flush(self) -> None:
        """Export what waits; for tests, which look at it next."""
        self._provider.force_flush()

    def close(self) -> None:
        """Export what waits, for `STOP_SECONDS` at most: a collector that is away must not hold up the end."""
        if self._exporter is None:
            self._provider.shutdown()
            return
        enough = threading.Timer(STOP_SECONDS, self._exporter.give_up)
        enough.daemon = True
        enough.start()
        self._provider.shutdown()
        enough.cancel()


class _WatchedExporter(SpanExporter):
    """Says once that the collector does not take spans, and once that it does again; spans that fail are lost."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter
        self._is_failing = False
        self._has_given_up = False
        self.count: Callable[[Outcome, int], None] = lambda outcome, spans: None

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Hand the spans on, unless it is too late for that."""
        result = SpanExportResult.FAILURE if self._has_given_up else self._exporter.export(spans)
        is_failing = result is not SpanExportResult.SUCCESS
        self.count("failed" if is_failing else "exported", len(spans))
        if is_failing and not self._is_failing:
            logger.warning("traces.not_exported", reason="the collector (telemetry.otlp_endpoint) does not take them")
        elif self._is_failing and not is_failing:
            logger.info("traces.exported_again")
        self._is_failing = is_failing
        return result

    def give_up(self) -> None:
        """Take no more time."""
        self._has_given_up = True
        self._exporter.shutdown()

    def shutdown(self) -> None:
        if not self._has_given_up:
            self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._exporter.force_flush(timeout_millis)


@contextmanager
def span(
    name: str,
    links: Iterable[SpanContext] = (),
    *,
    kind: SpanKind = SpanKind.INTERNAL,
    parent: str | None = None,
    is_root: bool = False,
    **attributes: AttributeValue,
) -> Iterator[Span]:
    """A span named `name` around the block; an error marks it failed, without its secrets, and goes on.

    It is a part of the span around the caller, or of `parent` (what `trace_parent` returned), or with `is_root` the
    begin of a trace of its own, linked to the span around the caller. `links` name further spans it works for.
    """
    context = Context() if is_root else _PROPAGATOR.extract({_HEADER: parent}) if parent else None
    around = current_span()
    linked = {each.span_id: Link(each) for each in links if each.is_valid and each.span_id != around.span_id}
    if is_root and around.is_valid:
        linked[around.span_id] = Link(around)
    tracer = trace.get_tracer("perplex_mono", __version__)
    started = tracer.start_span(name, context, kind, attributes, [*linked.values()][-MAX_LINKS:])
    with trace.use_span(started, end_on_exit=True, record_exception=False, set_status_on_exception=False) as current:
        try:
            yield current
        except Exception as error:
            current.set_status(StatusCode.ERROR, redacted_text(f"{type(error).__name__}: {error}"))
            raise


def current_span() -> SpanContext:
    """The span the caller is in; not valid where there is none."""
    return trace.get_current_span().get_span_context()


def current_trace_id() -> str:
    """The trace the caller is in, 32 hex digits, or an empty string."""
    context = current_span()
    return f"{context.trace_id:032x}" if context.is_valid else ""


def trace_parent() -> str | None:
    """The span the caller is in, in W3C form, to go on from it later; None where there is none."""
    carrier: dict[str, str] = {}
    _PROPAGATOR.inject(carrier)
    return carrier.get(_HEADER)


def _exporter(settings: TelemetrySettings) -> SpanExporter | None:
    if settings.exporter == "otlp":
        return OTLPSpanExporter(endpoint=settings.otlp_endpoint, timeout=EXPORT_TIMEOUT_SECONDS)
    if settings.exporter == "console":
        return ConsoleSpanExporter()
    return None
