"""A failure in the middle of an attempt hits only those whom it concerns, and keeps its cause."""

import errno
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from perplex_mono.errors import InvalidInput, NotFound, Overloaded, StorageFull
from perplex_mono.inference.ocr import OcrPage, PageRaster
from perplex_mono.ingestion.committer import IndexCommitter
from perplex_mono.ingestion.prepared import PreparedDocument
from perplex_mono.library.models import SearchIndex
from perplex_mono.operations import retries
from perplex_mono.storage.disk_full import MESSAGE
from perplex_mono.storage.vector_types import DocumentRows
from perplex_mono.storage.vectors import VectorStore
from tests import documents as make
from tests.app_client import App, open_app

COMMIT = VectorStore.commit_documents


@pytest.fixture
async def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[App]:
    monkeypatch.setattr(retries, "RETRY_SECONDS", (0.05, 0.05, 0.05))
    ingestion = {"max_attempts": 2, "commit_seconds": 5.0}
    async with open_app(tmp_path, ingestion=ingestion) as opened:
        yield opened


async def count_events(app: App, operation_id: str, kind: str) -> int:
    return [event["type"] for event in await app.events(operation_id)].count(kind)


@pytest.mark.parametrize("error", [StorageFull(MESSAGE), OSError(errno.ENOSPC, "No space left on device")])
async def test_a_disk_that_is_full_at_the_commit_uses_up_no_attempt(
    app: App, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    failures = [error] * 5

    async def full(store: VectorStore, table: str, documents: Sequence[DocumentRows]) -> int:
        if failures:
            raise failures.pop()
        return await COMMIT(store, table, documents)

    monkeypatch.setattr(VectorStore, "commit_documents", full)
    accepted = await app.upload(("a.txt", b"The skiff waits for room."))
    operation = await app.settle(accepted["operation_id"])
    assert (operation["state"], operation["failed_count"], operation["error"]) == ("completed", 0, None)
    events = [event for event in await app.events(accepted["operation_id"]) if event["type"] == "retrying"]
    assert [event["data"]["error"] for event in events] == [{"type": "StorageFull", "message": MESSAGE}] * 5


async def test_a_commit_that_never_works_ends_the_operation(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: object) -> int:
        raise RuntimeError("the index is broken")

    monkeypatch.setattr(VectorStore, "commit_documents", broken)
    accepted = await app.upload(("a.txt", b"The skiff never leaves."))
    operation = await app.settle(accepted["operation_id"])
    assert (operation["state"], operation["error"]["type"]) == ("dead", "Unavailable")
    assert "the index is broken" in operation["error"]["message"]


async def test_a_table_dropped_in_the_middle_of_a_commit_concerns_only_its_documents(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    dropped: list[str] = []
    groups: list[int] = []
    commit_group = IndexCommitter._commit_group

    async def watched(committer: IndexCommitter, group: Sequence[PreparedDocument]) -> None:
        groups.append(len(group))
        await commit_group(committer, group)

    async def dropping(store: VectorStore, table: str, documents: Sequence[DocumentRows]) -> int:
        if not dropped:
            dropped.append(table)
            raise NotFound("vector table", table)
        return await COMMIT(store, table, documents)

    monkeypatch.setattr(IndexCommitter, "_commit_group", watched)
    monkeypatch.setattr(VectorStore, "commit_documents", dropping)
    other = await app.new_collection("other")
    app.embedder.turnstile.close()
    ids = [
        (await app.upload(("a.txt", b"A ketch in the bay."), collection=name))["operation_id"]
        for name in ("default", other)
    ]
    for operation_id in ids:
        await app.next_event(operation_id, "document_started")
    app.embedder.turnstile.open()
    assert [(await app.settle(operation_id))["state"] for operation_id in ids] == ["completed", "completed"]
    assert groups[0] == 2, "both were in one group"
    assert sorted([await count_events(app, operation_id, "started") for operation_id in ids]) == [1, 2]


async def test_an_index_that_is_being_dropped_gets_no_new_table(app: App) -> None:
    collection = await app.new_collection("going")
    index_id = (await app.client.get(f"/api/v1/collections/{collection}")).json()["active_index_id"]
    app.embedder.turnstile.close()
    accepted = await app.upload(("a.txt", b"A lugger comes too late."), collection=collection)
    await app.next_event(accepted["operation_id"], "document_started")
    async with app.container.operations._database.write() as session:
        (await session.get_one(SearchIndex, index_id)).state = "deleting"
    app.embedder.turnstile.open()
    await app.next_event(accepted["operation_id"], "page_done")
    await app.ingest(("b.txt", b"A lugger in time."))  # committed after, by the same committer
    vectors = await app.container.vectors.wait()
    assert [name for name in vectors.table_names() if index_id.replace("-", "") in name] == []


async def test_an_error_that_cannot_pass_ends_its_document_alone(app: App, tmp_path: Path) -> None:
    async def refuse(_: PageRaster, *, is_urgent: bool) -> OcrPage:
        raise InvalidInput("not so many bytes")

    scan = make.scanned_pdf(tmp_path / "scan.pdf", ["a scan"]).read_bytes()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(app.ocr, "recognise", refuse)
        bad, good = await app.ingest(("scan.pdf", scan), ("text.txt", b"A yawl goes on."))
    assert (bad["status"], bad["failure"]["code"]) == ("failed", "internal")
    assert good["status"] == "ready"


async def test_a_full_queue_of_ocr_is_waited_for(app: App, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("perplex_mono.ingestion.page_reading.OCR_FULL_SECONDS", 0.01)
    recognise, refusals = app.ocr.recognise, [1, 2, 3]

    async def busy(image: PageRaster, *, is_urgent: bool) -> OcrPage:
        if refusals:
            raise Overloaded(f"{refusals.pop()} pages already wait for OCR.")
        return await recognise(image)

    monkeypatch.setattr(app.ocr, "recognise", busy)
    scan = make.scanned_pdf(tmp_path / "scan.pdf", ["a scan"]).read_bytes()
    accepted = await app.upload(("scan.pdf", scan))
    assert (await app.settle(accepted["operation_id"]))["state"] == "completed"
    assert await count_events(app, accepted["operation_id"], "started") == 1
