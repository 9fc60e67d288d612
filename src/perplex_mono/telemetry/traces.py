"""Spans around requests and pipeline steps, exported where the settings say (nowhere by default)."""

from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter, SpanExporter
from opentelemetry.trace import Span, SpanKind
from opentelemetry.util.types import AttributeValue

from perplex_mono import __version__
from perplex_mono.settings import TelemetrySettings

EXPORT_TIMEOUT_SECONDS = 5


def configure_tracing(settings: TelemetrySettings, exporter: SpanExporter | None = None) -> TracerProvider:
    """Install the process's tracer provider; spans are recorded even without an exporter, so logs carry trace ids."""
    resource = Resource.create({"service.name": settings.service_name, "service.version": __version__})
    provider = TracerProvider(resource=resource)
    chosen = exporter or _exporter(settings)
    if chosen is not None:
        provider.add_span_processor(BatchSpanProcessor(chosen))
    trace.set_tracer_provider(provider)
    return provider


@contextmanager
def span(name: str, kind: SpanKind = SpanKind.INTERNAL, **attributes: AttributeValue) -> Iterator[Span]:
    """A span named `name` around the block; an exception marks it failed and goes on."""
    tracer = trace.get_tracer("perplex_mono", __version__)
    with tracer.start_as_current_span(name, kind=kind, attributes=attributes) as current:
        yield current


def current_trace_id() -> str:
    """The trace the caller is in, 32 hex digits, or an empty string."""
    context = trace.get_current_span().get_span_context()
    return f"{context.trace_id:032x}" if context.is_valid else ""


def _exporter(settings: TelemetrySettings) -> SpanExporter | None:
    if settings.exporter == "otlp":
        return OTLPSpanExporter(endpoint=settings.otlp_endpoint, timeout=EXPORT_TIMEOUT_SECONDS)
    if settings.exporter == "console":
        return ConsoleSpanExporter()
    return None
