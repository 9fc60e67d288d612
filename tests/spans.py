"""The spans of this process, as an exporter gets them. There is one tracer provider a process, so it is made once."""

from functools import lru_cache

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from perplex_mono.settings import TelemetrySettings
from perplex_mono.telemetry.traces import Tracing


class Spans:
    """What was recorded, looked at after the fact."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self._tracing = Tracing(TelemetrySettings(), self._exporter)

    def of_trace(self, trace_id: str) -> list[ReadableSpan]:
        """The ended spans of a trace, in the order in which they began."""
        spans = [span for span in self._all() if span.context and f"{span.context.trace_id:032x}" == trace_id]
        return sorted(spans, key=lambda span: span.start_time or 0)

    def named(self, name: str) -> list[ReadableSpan]:
        """The ended spans of this name, in the order in which they began."""
        return sorted((span for span in self._all() if span.name == name), key=lambda span: span.start_time or 0)

    def _all(self) -> tuple[ReadableSpan, ...]:
        self._tracing.flush()
        return self._exporter.get_finished_spans()


@lru_cache(maxsize=1)
def recorded_spans() -> Spans:
    """Everything this process records from the first call on."""
    return Spans()
