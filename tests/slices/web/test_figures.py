"""What happens is counted: once, under the right labels, and where it can be asked for only as of now."""

import asyncio
from collections.abc import AsyncIterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from perplex_mono.errors import NotFound, Unavailable
from perplex_mono.storage.vectors import VectorStore
from tests.app_client import App, open_app
from tests.documents import picture
from tests.figures import Counted

pytestmark = pytest.mark.asyncio(loop_scope="module")
WALRUS = b"The walrus eats clams from the bottom of the fjord."


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def app(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[App]:
    async with open_app(tmp_path_factory.mktemp("figures"), search={"cache_size": 8}) as opened:
        await opened.ingest(("gull.txt", b"The gull cries at dawn."))
        yield opened


async def test_an_ingested_document_is_counted_at_every_step(app: App) -> None:
    counted = await Counted.begin(app)
    await app.ingest(("walrus.txt", WALRUS), ("broken.pdf", b"%PDF-"))
    await counted.look()
    assert counted.more("operations_total", kind="ingest", state="queued") == 1
    assert counted.more("operations_total", kind="ingest", state="running") == 1
    assert counted.more("operations_total", kind="ingest", state="completed") == 1
    assert counted.more("operation_duration_seconds_count", kind="ingest", state="completed") == 1
    assert counted.more("operation_wait_seconds_count", kind="ingest") == 1
    assert counted.more("documents_total", state="processing") == 2
    assert counted.more("documents_total", state="ready") == 1
    assert counted.more("documents_total", state="failed") == 1
    assert counted.more("document_failures_total", code="corrupt") == 1
    assert counted.more("document_processing_seconds_count", outcome="ready") == 1
    assert counted.more("document_processing_seconds_count", outcome="failed") == 1
    assert counted.more("queue_wait_seconds_count") == 2
    assert counted.more("pages_total") == 1
    assert counted.more("chunks_total") == 1
    assert counted.more("embedded_texts_total") == 1
    assert counted.more("vector_operations_total", operation="commit_documents", outcome="ok") == 1
    assert counted.more("db_operations_total", operation="insert", table="chunks") == 1
    assert counted.more("db_operation_duration_seconds_count", operation="insert", table="chunks") == 1
    assert counted.now("db_size_bytes", file="database") + counted.now("db_size_bytes", file="log") > 10_000
    assert counted.now("operation_progress_age_seconds") == 0


async def test_known_text_is_not_embedded_but_counted_as_reused(app: App) -> None:
    await app.ingest(("seal.txt", b"The seal sleeps on the ice."))
    counted = await Counted.begin(app)
    await app.ingest(("again.txt", b"The seal sleeps on the ice."), collection=await app.new_collection("other"))
    await counted.look()
    assert counted.more("embeddings_reused_total") == 1
    assert counted.more("embedded_texts_total") == 0


async def test_a_scanned_page_is_counted_by_ocr(app: App) -> None:
    image = BytesIO()
    picture("walrus").save(image, "png")
    counted = await Counted.begin(app)
    await app.ingest(("scan.png", image.getvalue()))
    await counted.look()
    assert counted.more("ocr_requests_total") == 1
    assert counted.more("ocr_pages_total") == 1
    assert counted.now("ocr_initialization_total") == 1


async def test_work_that_has_not_ended_is_counted_in_the_ledger(app: App) -> None:
    app.embedder.turnstile.close()
    accepted = await app.upload(("orca.txt", b"The orca hunts herring."))
    await app.embedder.turnstile.reached.wait()
    counted = await Counted.begin(app)
    assert counted.now("operations_running") == 1
    assert counted.now("operations_active", state="running") == 1
    assert counted.now("operation_progress_age_seconds") > 0
    await app.client.post(f"/api/v1/operations/{accepted['operation_id']}/pause")
    await counted.look()
    assert counted.more("operations_total", kind="ingest", state="paused") == 1
    assert (counted.now("operations_active", state="paused"), counted.now("operations_active", state="running")) == (
        1,
        0,
    )
    app.embedder.turnstile.open()
    await app.client.post(f"/api/v1/operations/{accepted['operation_id']}/cancel")
    await counted.look()
    assert counted.more("operations_total", kind="ingest", state="cancelled") == 1


async def test_a_transient_failure_is_a_retry(app: App) -> None:
    counted = await Counted.begin(app)
    app.embedder.error = Unavailable("embedding", "it is away")
    accepted = await app.upload(("tern.txt", b"The tern flies from pole to pole."))
    await app.next_event(accepted["operation_id"], "retrying")
    app.embedder.error = None
    await counted.look()
    assert counted.more("operation_retries_total", kind="ingest") == 1
    assert counted.more("operation_stalls_total") == 0
    await app.client.post(f"/api/v1/operations/{accepted['operation_id']}/cancel")


async def test_searches_are_counted_by_outcome_step_and_arm(app: App) -> None:
    counted = await Counted.begin(app)
    await app.search("gull", mode="hybrid", limit=3)
    await app.search("gull", mode="hybrid", limit=3)
    await app.search("no such word", mode="sparse")
    await app.client.post("/api/v1/search", json={"query": "gull", "collection_ids": ["nowhere"]})
    await counted.look()
    assert counted.more("searches_total", mode="hybrid", outcome="answered") == 1
    assert counted.more("searches_total", mode="hybrid", outcome="cached") == 1
    assert counted.more("searches_total", mode="hybrid", outcome="refused") == 1
    assert counted.more("search_duration_seconds_count", mode="hybrid") == 1
    assert counted.more("searches_empty_total", mode="sparse") == 1
    assert counted.more("search_step_seconds_count", step="embed") == 1
    assert counted.more("search_arm_seconds_count", arm="dense") > 0
    assert counted.more("search_arm_hits_total", arm="dense") > 0
    assert counted.more("search_arm_hits_total", arm="sparse") > 0
    assert counted.more("vector_operations_total", operation="search_dense", outcome="ok") > 0


async def test_answers_and_the_checks_of_their_citations_are_counted(app: App) -> None:
    counted = await Counted.begin(app)
    for question in ("When does the gull cry?", "zzzz"):
        await app.client.post("/api/v1/answers", json={"question": question, "mode": "speed"})
    await app.client.post("/api/v1/answers", json={"question": "gull", "collection_ids": ["nowhere"]})
    await counted.look()
    assert counted.more("answers_total", mode="speed") == 2
    assert counted.more("answers_total", outcome="refused") == 1
    assert counted.more("answer_duration_seconds_count", mode="speed") == 2
    assert counted.more("citations_total", outcome="verified") >= 1
    assert counted.more("citations_total", outcome="dropped") == 0


async def test_requests_are_counted_by_route_and_code(app: App) -> None:
    counted = await Counted.begin(app)
    await app.client.get("/api/v1/documents/nothing")
    await app.client.head("/api/v1/collections")
    await app.client.get("/nowhere")
    await counted.look()
    assert (
        counted.more("http_requests_total", method="GET", endpoint="/api/v1/documents/{document_id}", status="404") == 1
    )
    assert counted.more("http_requests_total", method="GET", endpoint="/api/v1/collections", status="200") == 1
    assert counted.more("http_requests_total", endpoint="unmatched", status="404") == 1
    assert counted.more("http_request_duration_seconds_count", endpoint="unmatched") == 1
    assert counted.now("http_requests_in_progress") == 1, "this one"
    assert counted.more("log_records_total", level="info") >= 3


async def test_what_the_process_and_its_machine_have_is_shown(app: App) -> None:
    counted = await Counted.begin(app)
    assert 0 < counted.now("memory_used_fraction") < 1
    assert counted.now("memory_used_bytes") < counted.now("memory_limit_bytes")
    assert 0 < counted.now("disk_free_bytes") < counted.now("disk_total_bytes")
    assert counted.now("device_memory_free_bytes", device="cpu") <= counted.now(
        "device_memory_total_bytes", device="cpu"
    )
    assert counted.now("process_resident_memory_bytes") > 10_000_000
    assert counted.now("process_open_fds") < counted.now("process_max_fds")
    assert counted.now("process_threads") > 1
    assert counted.now("process_cpu_seconds_total") > 0
    assert counted.now("application_info") == 1


async def test_components_that_are_not_well_are_shown(tmp_path: Path) -> None:
    async with open_app(tmp_path) as app:
        await app.ingest(("gull.txt", b"The gull cries at dawn."))
        app.ocr.fail("the models are gone")
        counted = await Counted.begin(app)
        assert counted.now("component_status", component="database") == 0
        assert counted.now("component_status", component="ocr") == 1
        assert counted.now("server_status") == 1
        assert counted.now("documents_stored", status="ready") == 1
        assert (counted.now("pages_stored"), counted.now("chunks_stored")) == (1, 1)
        assert counted.now("stored_bytes") == 23


async def test_a_call_of_the_vector_store_that_fails_is_an_error_and_one_that_asks_for_nothing_there_is_not(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = await Counted.begin(app)
    vectors: VectorStore = await app.container.vectors.wait()
    with pytest.raises(NotFound, match="nowhere"):
        await vectors.search_text("nowhere", "gull", 3)
    await app.search("gull")
    tables: list[Any] = list(vectors._tables.values())

    async def breaks(*_: object, **__: object) -> None:
        raise OSError("the disk is gone")

    monkeypatch.setattr(type(tables[0]), "search_text", breaks)
    with pytest.raises(OSError, match="gone"):
        await vectors.search_text(next(iter(vectors._tables)), "gull", 3)
    await counted.look()
    for outcome in ("refused", "error"):
        assert counted.more("vector_operations_total", operation="search_text", outcome=outcome) == 1


async def test_what_a_search_found_is_kept_while_nothing_changes_that_it_could_show(app: App) -> None:
    counted = await Counted.begin(app)
    await app.search("tern", mode="sparse")
    await app.container.audit.refused("login", address="127.0.0.1")
    await app.client.get("/ready")
    await app.search("tern", mode="sparse")
    await app.ingest(("skua.txt", b"The skua chases the tern."))
    assert "skua.txt" in await app.names_found("tern", mode="sparse")
    await counted.look()
    assert counted.more("searches_total", mode="sparse", outcome="cached") == 1


async def test_those_who_look_together_are_told_the_same(app: App) -> None:
    asked = [app.client.get("/metrics") for _ in range(20)]
    assert {answer.status_code for answer in await asyncio.gather(*asked)} == {200}
