"""docs/logs-and-traces.md names the fields that every line may have, and the spans there are."""

import io
import json
import re
from pathlib import Path

from loguru import logger
from opentelemetry import trace

from perplex_mono.telemetry.log_lines import json_line, operation_id_var, request_id_var
from perplex_mono.telemetry.traces import span

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "logs-and-traces.md").read_text(encoding="utf-8")


def test_the_fields_are_those_of_a_line(tracer: None) -> None:
    written = io.StringIO()
    handler = logger.add(lambda message: print(json_line(message.record), file=written))
    tokens = request_id_var.set("request"), operation_id_var.set("operation")
    try:
        with span("test"):
            assert trace.get_current_span().get_span_context().is_valid
            try:
                raise ValueError("broken")
            except ValueError:
                logger.exception("test.broke")
    finally:
        logger.remove(handler)
        request_id_var.reset(tokens[0])
        operation_id_var.reset(tokens[1])
    assert re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE) == list(json.loads(written.getvalue()))


def test_every_span_named_is_made_somewhere_and_the_other_way_round() -> None:
    sources = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "src").rglob("*.py"))
    made = set(re.findall(r"\bspan\(\s*f?\"([a-z]+\.[a-z_]+)\"", sources))
    named = set(re.findall(r"`([a-z]+\.[a-z_]+)`", PAGE.split("## Traces")[1]))
    settings_and_events = {"telemetry.exporter", "telemetry.otlp_endpoint", "traces.not_exported", "operation.ingest"}
    assert named - settings_and_events == made - {"reindex.documents"}
