"""docs/metrics.md and `/metrics` name the same metrics, and no caller can make a series."""

import re
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio
from prometheus_client import CollectorRegistry
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.parser import text_string_to_metric_families

from tests.app_client import App, open_app
from tests.system.faults.means import missing

pytestmark = pytest.mark.asyncio(loop_scope="module")
PAGE = Path(__file__).parents[2] / "docs" / "metrics.md"
ROW = re.compile(r"^\| `(\w+)` \| (counter|gauge|histogram) \| ([\w, ]*) \| (.+) \|$")
Named = dict[str, tuple[str, frozenset[str], str]]
# what dashboards, rules and whoever runs a server rely on; to rename one of these breaks them silently
RELIED_ON = {
    "http_requests_total{method,endpoint,status}",
    "http_request_duration_seconds{method,endpoint}",
    "active_websocket_connections",
    "websocket_closes_total{code}",
    "application_info{version}",
    "server_status",
    "component_status{component}",
    "event_loop_lag_seconds",
    "log_records_total{level}",
    "operations_total{kind,state}",
    "operation_duration_seconds{kind,state}",
    "operation_progress_age_seconds",
    "operations_running",
    "operations_active{state}",
    "queue_documents",
    "queue_oldest_seconds",
    "queue_wait_seconds",
    "documents_total{state}",
    "documents_stored{status}",
    "document_failures_total{code}",
    "document_processing_seconds{outcome}",
    "pages_total",
    "scanned_files_total{finding}",
    "ocr_initialization_total",
    "ocr_initialization_errors_total",
    "ocr_requests_total",
    "ocr_errors_total",
    "ocr_pages_total",
    "ocr_processing_seconds",
    "embedded_texts_total",
    "embedding_batch_seconds{lane}",
    "model_load_errors_total{component}",
    "searches_total{mode,outcome}",
    "search_duration_seconds{mode}",
    "search_step_seconds{step}",
    "answers_total{mode,outcome}",
    "citations_total{outcome}",
    "db_operations_total{operation,table}",
    "db_operation_duration_seconds{operation,table}",
    "db_errors_total",
    "vector_operations_total{operation,outcome}",
    "process_resident_memory_bytes",
    "process_open_fds",
    "memory_used_fraction",
    "disk_free_bytes",
    "disk_reserve_bytes",
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def app(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[App]:
    """A server that has done a bit of everything."""
    async with open_app(tmp_path_factory.mktemp("metrics")) as opened:
        await opened.ingest(
            ("walrus.txt", b"The walrus lives in the harbour of Longyearbyen."), ("broken.pdf", b"%PDF-")
        )
        await opened.search("walrus")
        await opened.client.post("/api/v1/answers", json={"question": "Where does the walrus live?"})
        yield opened


def documented() -> Named:
    """Type, labels and meaning of every metric in the tables of the page."""
    rows = [match for line in PAGE.read_text(encoding="utf-8").splitlines() if (match := ROW.match(line))]
    assert len({row[1] for row in rows}) == len(rows), "a metric is documented twice"
    return {row[1]: (row[2], frozenset(filter(None, row[3].split(", "))), row[4]) for row in rows}


def _name_and_labels(written: str) -> tuple[str, frozenset[str]]:
    """Of a name as it stands in a query: `name{label,label}`."""
    name, _, labels = written.removesuffix("}").partition("{")
    return name, frozenset(filter(None, labels.split(",")))


def exposed(registry: CollectorRegistry) -> Named:
    """The same of every metric that the server has, those without a series yet included."""
    return dict(_exposed(registry))


def _exposed(registry: CollectorRegistry) -> Iterator[tuple[str, tuple[str, frozenset[str], str]]]:
    for collector in registry._collector_to_names:  # the only way to a metric's labels before its first series
        for family in collector.collect():
            labels = collector if isinstance(collector, MetricWrapperBase) else family
            name = f"{family.name}_total" if family.type == "counter" else family.name
            yield name, (family.type, frozenset(labels._labelnames), family.documentation)  # type: ignore[union-attr]  # both have them


async def samples(app: App) -> list[tuple[str, dict[str, str]]]:
    text = (await app.client.get("/metrics")).text
    return [
        (sample.name, sample.labels) for family in text_string_to_metric_families(text) for sample in family.samples
    ]


async def test_the_page_and_the_server_name_the_same_metrics(app: App) -> None:
    assert exposed(app.container.metrics.registry) == documented()


async def test_the_names_that_others_rely_on_are_there(app: App) -> None:
    there = {(name, labels) for name, (_, labels, _) in exposed(app.container.metrics.registry).items()}
    relied_on = {_name_and_labels(written) for written in RELIED_ON}
    assert relied_on - there == set()


async def test_every_series_is_a_documented_one(app: App) -> None:
    known = documented()
    for name, labels in await samples(app):
        base = re.sub(r"_(bucket|sum|count)$", "", name)
        kind, expected, _ = known[base if known.get(base, ("",))[0] == "histogram" else name]
        assert labels.keys() - {"le"} == expected, name
        assert ("le" in labels) == (kind == "histogram" and name.endswith("_bucket"))


async def test_the_answer_is_what_prometheus_reads(app: App) -> None:
    answer = await app.client.get("/metrics")
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert "_created" not in answer.text


async def test_promtool_finds_nothing_to_object_to(app: App) -> None:
    if shutil.which("promtool") is None:
        missing("promtool is not installed; it is in Debian's prometheus")
    text = (await app.client.get("/metrics")).content
    checked = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, timeout=30)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")


@pytest.mark.parametrize("path", ["/made/up/{number}", "/api/v1/documents/{number}", "/%0a%22{number}"])
async def test_paths_that_people_make_up_make_no_series(app: App, path: str) -> None:
    await app.client.get(path.format(number=0))
    before = await samples(app)
    for number in range(1, 20):
        await app.client.get(path.format(number=number), params={"q": str(number)})
    assert len(await samples(app)) == len(before)


async def test_methods_that_people_make_up_are_one(app: App) -> None:
    for number in range(20):
        await app.client.send(httpx.Request(f"BREW{number}", "http://127.0.0.1:8080/api/v1/collections"))
    methods = {labels["method"] for name, labels in await samples(app) if name == "http_requests_total"}
    assert "other" in methods
    assert methods <= {"GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "other"}


async def test_every_table_is_known_by_its_name(app: App) -> None:
    tables = {labels["table"] for name, labels in await samples(app) if name == "db_operations_total"}
    assert {"documents", "operations", "events", "chunks", "embeddings", "pages"} <= tables
