"""A real server and a real collector: spans arrive as OTLP, and a collector that is away harms nothing."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from prometheus_client.parser import text_string_to_metric_families

from tests.server_process import ServerProcess, free_port, running_server

QUESTION = "What does the walrus eat?"
TEXT = b"The walrus eats clams from the bottom of the fjord."


class Collector:
    """Takes OTLP over HTTP, as protobuf, and remembers the spans."""

    def __init__(self) -> None:
        self.spans: list[Any] = []
        self.services: set[str] = set()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1/traces"

    @contextmanager
    def listening(self) -> Iterator["Collector"]:
        """Take spans while the block runs."""
        thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        thread.start()
        yield self
        self._server.shutdown()
        self._server.server_close()

    def take(self, body: bytes) -> None:
        """What one request brings."""
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            self.services |= {
                each.value.string_value for each in resource.resource.attributes if each.key == "service.name"
            }
            for scope in resource.scope_spans:
                self.spans += scope.spans

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                collector.take(self.rfile.read(int(self.headers["content-length"])))
                self.send_response(200)
                self.send_header("content-type", "application/x-protobuf")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        return Handler


def otlp(url: str) -> dict[str, str]:
    return {
        "PERPLEX_TELEMETRY__EXPORTER": "otlp",
        "PERPLEX_TELEMETRY__OTLP_ENDPOINT": url,
        "PERPLEX_TELEMETRY__SERVICE_NAME": "walrus-archive",
    }


def work(server: ServerProcess) -> str:
    """Upload, ask, and do something wrong; the trace id of that."""
    accepted = server.upload(("walrus.txt", TEXT))
    assert server.wait_operation(accepted["operation_id"])["state"] == "completed"
    answer = httpx.post(f"{server.url}/api/v1/answers", json={"question": QUESTION}, timeout=60)
    assert answer.json()["citations"]
    trace_id: str = httpx.get(f"{server.url}/api/v1/documents/nothing", timeout=10).json()["trace_id"]
    return trace_id


def counter(url: str, name: str, **labels: str) -> float:
    families = text_string_to_metric_families(httpx.get(url, timeout=10).text)
    found = (sample for family in families for sample in family.samples)
    return sum(sample.value for sample in found if sample.name == name and labels.items() <= sample.labels.items())


def test_a_collector_gets_whole_traces_with_the_ids_of_logs_and_problems(tmp_path: Path) -> None:
    metrics_port = free_port()
    with Collector().listening() as collector:
        environment = {**otlp(collector.url), "PERPLEX_TELEMETRY__METRICS_PORT": str(metrics_port)}
        with running_server(tmp_path, environment) as server:
            server.wait_ready()
            trace_id = work(server)
            metrics = f"http://127.0.0.1:{metrics_port}/metrics"
            assert counter(metrics, "operations_total", kind="ingest", state="completed") == 1
            assert counter(metrics, "embedding_batch_texts_count") > 0
            assert counter(metrics, "model_load_seconds_count", component="embedding") == 1
            assert server.stop() == 0
    assert collector.services == {"walrus-archive"}
    traces: dict[str, set[str]] = {}
    for span in collector.spans:
        traces.setdefault(span.trace_id.hex(), set()).add(span.name)
    uploads = [spans for spans in traces.values() if "POST /api/v1/collections/{collection_id}/documents" in spans]
    assert len(uploads) == 1
    assert {"upload.receive", "operation.ingest", "ingest.document", "embedding.batch", "ingest.commit"} <= uploads[0]
    asked = [spans for spans in traces.values() if "POST /api/v1/answers" in spans]
    assert len(asked) == 1
    assert {"search", "embedding.batch", "search.retrieve", "answer.write", "answer.check_citations"} <= asked[0]
    assert traces[trace_id] == {"GET /api/v1/documents/{document_id}"}
    lines = [json.loads(line) for line in server.log().splitlines()]
    assert [line["path"] for line in lines if line.get("trace_id") == trace_id] == ["/api/v1/documents/nothing"]
    assert "walrus" not in "".join(str(span) for span in collector.spans), "no text and no name of a document"


@pytest.mark.parametrize("is_hung", [False, True])
def test_without_its_collector_the_server_works_and_stops(tmp_path: Path, is_hung: bool) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as silent:  # takes connections, never answers
        port = silent.server_port if is_hung else free_port()
        with running_server(tmp_path, otlp(f"http://127.0.0.1:{port}/v1/traces")) as server:
            server.wait_ready()
            work(server)
            while not counter(f"{server.url}/metrics", "trace_spans_total", outcome="failed"):
                time.sleep(0.2)  # until the exporter has tried; the test's own time limit ends this
            assert server.search("walrus")["hits"]
            assert server.stop() == 0
        said = [json.loads(line) for line in server.log().splitlines()]
        assert [line["event"] for line in said].count("traces.not_exported") == 1
        assert not [line for line in said if line["level"] == "ERROR"]
