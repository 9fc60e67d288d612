"""What Loki and Promtail are told, as far as that can be known without running them (Debian has neither).

Their files are checked against schemas written down from their configuration references, in which an unknown key is an
error, and for the limits that were agreed on.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
SCHEMAS = Path(__file__).parent / "schemas"
FILES = {name: ROOT / "deploy" / name / f"{name}.yml" for name in ("loki", "promtail")}


def read(name: str) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(FILES[name].read_text(encoding="utf-8"))
    return content


def validate(schema: Path, file: Path) -> subprocess.CompletedProcess[str]:
    command: list[str | Path] = [sys.executable, "-m", "check_jsonschema", "--schemafile", schema, file]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("name", FILES)
def test_the_file_has_only_keys_and_values_that_its_program_knows(name: str) -> None:
    checked = validate(SCHEMAS / f"{name}.json", FILES[name])
    assert checked.returncode == 0, checked.stdout


@pytest.mark.parametrize("name", FILES)
def test_the_schema_refuses_a_key_that_is_not_in_the_reference(name: str, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.yml"
    limits = {**read(name)["limits_config"], "max_line_sise": "2MB"}
    wrong.write_text(yaml.safe_dump({**read(name), "limits_config": limits}))
    assert "max_line_sise" in validate(SCHEMAS / f"{name}.json", wrong).stdout


def test_loki_takes_as_much_as_was_agreed_and_keeps_it_for_a_time() -> None:
    limits = read("loki")["limits_config"]
    assert (limits["ingestion_rate_mb"], limits["ingestion_burst_size_mb"]) == (32, 48)
    assert limits["max_global_streams_per_user"] == 10_000
    assert limits["max_line_size"] == "2MB"
    assert (limits["per_stream_rate_limit"], limits["per_stream_rate_limit_burst"]) == ("5MB", "10MB")
    hours = int(limits["retention_period"].removesuffix("h"))
    period = int(read("loki")["schema_config"]["configs"][0]["index"]["period"].removesuffix("h"))
    assert 0 < hours <= 24 * 90
    assert hours % period == 0
    assert read("loki")["compactor"]["retention_enabled"] is True


def test_promtail_sends_each_second_or_megabyte_and_tries_again_soon() -> None:
    (client,) = read("promtail")["clients"]
    assert (client["batchwait"], client["batchsize"]) == ("1s", 1 << 20)
    assert (client["backoff_config"]["min_period"], client["backoff_config"]["max_period"]) == ("500ms", "5s")


def test_promtail_reads_the_file_that_the_server_writes() -> None:
    services = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))["services"]
    (target,) = read("promtail")["scrape_configs"][0]["static_configs"]
    assert target["labels"]["__path__"] == services["perplex"]["environment"]["PERPLEX_LOGGING__FILE"]
    assert "logs:/logs" in services["perplex"]["volumes"]
    assert "logs:/logs:ro" in services["promtail"]["volumes"]


def test_promtail_takes_from_a_line_what_is_in_it() -> None:
    (scrape,) = read("promtail")["scrape_configs"]
    stages = {name: stage[name] for stage in scrape["pipeline_stages"] for name in stage}
    taken = stages["json"]["expressions"]
    assert set(taken.values()) <= line_about_a_request().keys()
    assert {stages["timestamp"]["source"], *stages["labels"], *stages["structured_metadata"]} == taken.keys()


def line_about_a_request() -> dict[str, Any]:
    """A log line with everything that one can carry, from a process of its own: logging is set up once in each."""
    program = """
from loguru import logger
from opentelemetry.trace import NonRecordingSpan, SpanContext, use_span
from perplex_mono.settings import LoggingSettings
from perplex_mono.telemetry.logs import configure_logging, operation_id_var, request_id_var
configure_logging(LoggingSettings())
request_id_var.set("request")
operation_id_var.set("operation")
with use_span(NonRecordingSpan(SpanContext(trace_id=1, span_id=1, is_remote=False))):
    logger.info("http.request")
"""
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=60)
    fields: dict[str, Any] = json.loads(done.stderr)
    return fields
