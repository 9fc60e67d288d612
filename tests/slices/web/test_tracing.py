"""One trace from the first byte of an upload to its searchable chunks, and one from a question to its citations."""

import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from loguru import logger
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import StatusCode

from perplex_mono.telemetry.log_lines import json_line
from perplex_mono.telemetry.traces import span
from tests.app_client import App, open_app
from tests.slices.sources.following import FollowedFolder
from tests.spans import Spans, recorded_spans

pytestmark = pytest.mark.asyncio(loop_scope="module")
UPLOAD = "POST /api/v1/collections/{collection_id}/documents"


@pytest.fixture(scope="module")
def spans() -> Spans:
    return recorded_spans()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def app(tmp_path_factory: pytest.TempPathFactory, spans: Spans) -> AsyncIterator[App]:
    folder = tmp_path_factory.mktemp("tracing")
    (folder / "library").mkdir()
    async with open_app(folder / "server", sources={"roots": [str(folder / "library")], "watch": False}) as opened:
        yield opened


@pytest.fixture
def lines() -> Iterator[list[dict[str, object]]]:
    """What is logged, as it would be written."""
    written: list[dict[str, object]] = []
    handler = logger.add(lambda message: written.append(json.loads(json_line(message.record))), level="INFO")
    yield written
    logger.remove(handler)


def trace_of(span: ReadableSpan) -> str:
    assert span.context is not None
    return f"{span.context.trace_id:032x}"


def names(spans: list[ReadableSpan]) -> list[str]:
    return [span.name for span in spans]


def is_below(span: ReadableSpan, root: ReadableSpan, spans: list[ReadableSpan]) -> bool:
    """Whether a span's parents lead to the root."""
    by_id = {each.context.span_id: each for each in spans if each.context}
    while span.parent is not None and span is not root:
        span = by_id[span.parent.span_id]
    return span is root


async def test_an_upload_is_one_trace_until_it_can_be_found(app: App, spans: Spans) -> None:
    (document,) = await app.ingest(("walrus.txt", b"The walrus lives in the harbour."))
    assert document["status"] == "ready"
    root = spans.named(UPLOAD)[-1]
    trace = spans.of_trace(trace_of(root))
    assert root.parent is None
    assert all(is_below(span, root, trace) for span in trace)
    wanted = ["upload.receive", "operation.ingest", "ingest.document", "ingest.read", "ingest.cut", "ingest.embed"]
    assert [name for name in names(trace) if name in [*wanted, "ingest.commit"]] == [*wanted, "ingest.commit"]
    commit = next(span for span in trace if span.name == "ingest.commit")
    group = [span for span in spans.named("index.commit") if any(link.context == commit.context for link in span.links)]
    assert len(group) == 1, "the commit of the group names the documents that waited for it"


async def test_a_question_is_one_trace_until_its_citations(app: App, spans: Spans) -> None:
    await app.ingest(("whale.txt", b"The whale swims in the fjord."))
    answer = await app.client.post("/api/v1/answers", json={"question": "Where does the whale swim?"})
    assert answer.json()["citations"]
    root = spans.named("POST /api/v1/answers")[-1]
    trace = spans.of_trace(trace_of(root))
    assert names(trace) == [
        "POST /api/v1/answers",
        "answer",
        "search",
        "search.embed",
        "search.retrieve",
        "search.hydrate",
        "answer.write",
        "answer.check_citations",
    ]
    assert all(is_below(span, root, trace) for span in trace)


async def test_each_document_of_a_scan_has_a_trace_of_its_own(app: App, spans: Spans) -> None:
    before = len(spans.named("ingest.document"))
    folder = FollowedFolder(app, Path(app.container.settings.sources.roots[0]))
    await folder.follow({"one.txt": "The seal sleeps on the ice. " * 5, "two.txt": "The gull cries at dawn. " * 5})
    documents = spans.named("ingest.document")[before:]
    operations = {span.context.span_id for span in spans.named("operation.ingest") if span.context}
    assert len({trace_of(span) for span in documents}) == 2
    assert all(span.parent is None for span in documents)
    assert all(link.context.span_id in operations for span in documents for link in span.links)
    assert all(len(span.links) == 1 for span in documents)


async def test_every_attempt_goes_on_in_the_trace_of_its_upload(app: App, spans: Spans) -> None:
    app.embedder.turnstile.close()
    accepted = await app.upload(("auk.txt", b"The auk is gone for ever."))
    await app.embedder.turnstile.reached.wait()
    for action in ("pause", "resume"):
        await app.client.post(f"/api/v1/operations/{accepted['operation_id']}/{action}")
    app.embedder.turnstile.open()
    await app.settle(accepted["operation_id"])
    trace = spans.of_trace(trace_of(spans.named(UPLOAD)[-1]))
    attempts = [(each.attributes or {})["epoch"] for each in trace if each.name == "operation.ingest"]
    assert attempts == [1, 2]


async def test_a_problem_its_log_line_and_its_trace_have_one_id(
    app: App, spans: Spans, lines: list[dict[str, object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object) -> None:
        raise RuntimeError("the disk is on fire, password=s3cr3t")

    monkeypatch.setattr(type(app.container.searcher), "search", broken)
    answer = await app.client.post(
        "/api/v1/search", json={"query": "walrus"}, headers={"X-Request-Id": "request-of-the-test"}
    )
    trace_id = answer.json()["trace_id"]
    assert answer.status_code == 500
    assert "s3cr3t" not in answer.text
    broke, access = (
        next(line for line in lines if line["event"] == event) for event in ("request.broke", "http.request")
    )
    assert {broke["trace_id"], access["trace_id"]} == {trace_id}
    assert {broke["request_id"], access["request_id"]} == {"request-of-the-test"}
    (root,) = spans.of_trace(trace_id)
    assert (root.name, (root.attributes or {})["http.response.status_code"]) == ("POST /api/v1/search", 500)
    assert "s3cr3t" not in json.dumps(lines)


async def test_a_span_that_failed_tells_why_and_no_secret(spans: Spans) -> None:
    with pytest.raises(ValueError), span("test.failing"):
        raise ValueError("no user with password=s3cr3t")
    failed = spans.named("test.failing")[-1]
    assert failed.status.status_code is StatusCode.ERROR
    assert "no user" in str(failed.status.description)
    assert "s3cr3t" not in failed.to_json()


async def test_lines_of_an_operation_name_it_and_the_trace_of_its_upload(
    app: App, spans: Spans, lines: list[dict[str, object]]
) -> None:
    accepted = await app.upload(("broken.pdf", b"%PDF-"))
    await app.settle(accepted["operation_id"])
    failed = next(line for line in lines if line["event"] == "document.failed")
    assert failed["operation_id"] == accepted["operation_id"]
    upload = next(line for line in lines if line["event"] == "http.request" and line["method"] == "POST")
    assert failed["trace_id"] == upload["trace_id"]
