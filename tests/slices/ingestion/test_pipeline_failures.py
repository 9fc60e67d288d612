"""What goes wrong in the middle: a model that fails, documents taken away, crashes; nothing half is ever visible."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from perplex_mono.errors import DocumentFailure, Unavailable
from perplex_mono.ingestion.document_states import DocumentStates, Reading
from perplex_mono.ingestion.metrics import IngestionMetrics
from perplex_mono.ingestion.pages import Page
from perplex_mono.library.backlog import Backlog
from perplex_mono.library.collections import CollectionService
from perplex_mono.library.models import Document
from perplex_mono.library.service import DocumentService, ReceivedFile
from perplex_mono.library.throughput import Throughput
from perplex_mono.operations.ledger import Claim, Ledger
from perplex_mono.operations.service import OperationService
from perplex_mono.storage.blobs import BlobStore
from perplex_mono.storage.database import Database
from perplex_mono.storage.vector_types import ChunkBatch, DocumentRows
from perplex_mono.storage.vectors import VectorStore
from tests import documents as make
from tests.app_client import App, Turnstile, open_app

LONG = "\n\n".join(f"# Part {n}\n\n" + f"The stormglass of part {n} was read. " * 60 for n in range(40)).encode()


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[App]:
    async with open_app(tmp_path) as opened:
        yield opened
        opened.embedder.turnstile.open()
        opened.ocr.turnstile.open()


async def reached(app: App, what: str) -> None:
    turnstile = app.embedder.turnstile if what == "embedder" else app.ocr.turnstile
    async with asyncio.timeout(30):
        await turnstile.reached.wait()


async def test_a_model_that_fails_midway_is_asked_again_and_nothing_half_is_seen(app: App) -> None:
    app.embedder.turnstile.close()
    accepted = await app.upload(("long.md", LONG), ("short.txt", b"Only a short one."))
    await reached(app, "embedder")
    app.embedder.error = Unavailable("embedding", "the model is being replaced")
    app.embedder.turnstile.open()
    assert (await app.next_event(accepted["operation_id"], "retrying"))["data"]["in_seconds"] <= 2.0
    assert await app.vector_ids() == {}
    assert await app.names_found("stormglass short", mode="sparse") == []
    app.embedder.error = None
    operation = await app.settle(accepted["operation_id"])
    assert (operation["state"], operation["failed_count"]) == ("completed", 0)
    stored = await app.vector_ids()
    for item in accepted["documents"]:
        document = await app.document(item["id"])
        assert document["status"] == "ready"
        assert len(stored[item["id"]]) == document["chunk_count"]


async def test_a_document_deleted_while_it_is_embedded_leaves_nothing(app: App) -> None:
    app.embedder.turnstile.close()
    accepted = await app.upload(("going.md", LONG), ("staying.txt", b"The barometer stays."))
    await reached(app, "embedder")
    going = accepted["documents"][0]["id"]
    deleted = await app.client.delete(f"/api/v1/documents/{going}")
    await app.settle(deleted.json()["operation_id"])
    app.embedder.turnstile.open()
    operation = await app.settle(accepted["operation_id"])
    assert (operation["state"], operation["attempt"]) == ("completed", 0)
    assert set(await app.vector_ids()) == {accepted["documents"][1]["id"]}
    assert await app.names_found("stormglass", mode="sparse") == []
    assert (await app.client.get(f"/api/v1/documents/{going}")).status_code == 404


async def test_a_document_deleted_while_it_is_committed_leaves_nothing(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its rows are on their way to the index when the deletion has already swept there."""
    turnstile = Turnstile()
    turnstile.close()
    commit = VectorStore.commit_documents

    async def held(store: VectorStore, table: str, documents: Sequence[DocumentRows]) -> int:
        await turnstile.wait()
        return await commit(store, table, documents)

    monkeypatch.setattr(VectorStore, "commit_documents", held)
    accepted = await app.upload(("going.txt", b"The heliograph is going."), ("staying.txt", b"The telegraph stays."))
    async with asyncio.timeout(30):
        await turnstile.reached.wait()
    going, staying = (item["id"] for item in accepted["documents"])
    deleted = await app.client.delete(f"/api/v1/documents/{going}")
    await app.settle(deleted.json()["operation_id"])
    turnstile.open()
    assert (await app.settle(accepted["operation_id"]))["state"] == "completed"
    assert set(await app.vector_ids()) == {staying}
    assert (await app.document(staying))["status"] == "ready"


async def test_a_document_deleted_just_before_it_fails_does_not_hurt_the_others(app: App, tmp_path: Path) -> None:
    app.ocr.turnstile.close()
    app.embedder.turnstile.close()
    scan = make.scanned_pdf(tmp_path / "scan.pdf", ["a scan"]).read_bytes()
    accepted = await app.upload(("scan.pdf", scan), ("other.txt", b"The hygrometer goes on."))
    await reached(app, "ocr")
    await reached(app, "embedder")
    deleted = await app.client.delete(f"/api/v1/documents/{accepted['documents'][0]['id']}")
    await app.settle(deleted.json()["operation_id"])
    app.ocr.fail("no models")
    app.ocr.turnstile.open()
    await asyncio.sleep(0.2)
    app.embedder.turnstile.open()
    async with asyncio.timeout(15):
        operation = await app.settle(accepted["operation_id"])
    assert (operation["state"], operation["failed_count"]) == ("completed", 0)
    events = [event["type"] for event in await app.events(accepted["operation_id"])]
    assert events.count("started") == 1, "the attempt was not lost"
    assert (await app.document(accepted["documents"][1]["id"]))["status"] == "ready"


async def test_a_page_that_needs_ocr_fails_with_that_reason_and_can_be_retried(app: App, tmp_path: Path) -> None:
    scan = make.scanned_pdf(tmp_path / "scan.pdf", ["a scan"]).read_bytes()
    status = app.ocr.status()
    app.ocr.fail("its models are missing")
    document, other = await app.ingest(("scan.pdf", scan), ("text.txt", b"Plain words go on."))
    assert document["status"] == "failed"
    assert (document["failure"]["code"], document["failure"]["retryable"]) == ("ocr_unavailable", True)
    assert "its models are missing" in document["failure"]["message"]
    assert other["status"] == "ready"
    app.ocr._status = status
    answer = await app.client.post(f"/api/v1/documents/{document['id']}/retry")
    await app.settle(answer.json()["operation_id"])
    assert (await app.document(document["id"]))["status"] == "ready"


async def test_a_collection_deleted_while_it_is_filled_leaves_nothing(app: App) -> None:
    collection = await app.new_collection("short-lived")
    app.embedder.turnstile.close()
    accepted = await app.upload(("going.md", LONG), collection=collection)
    await reached(app, "embedder")
    deleted = await app.client.delete(f"/api/v1/collections/{collection}")
    await app.settle(deleted.json()["operation_id"])
    app.embedder.turnstile.open()
    assert (await app.settle(accepted["operation_id"]))["state"] == "completed"
    assert not [path for path in (app.data / "blobs").iterdir() if path.is_file()]
    assert (await app.client.get(f"/api/v1/collections/{collection}")).status_code == 404


async def test_stopping_gives_the_work_back_and_the_next_start_finishes_it(tmp_path: Path) -> None:
    async with open_app(tmp_path) as app:
        app.embedder.turnstile.close()
        accepted = await app.upload(("long.md", LONG))
        await reached(app, "embedder")
    async with open_app(tmp_path) as app:
        operation = await app.settle(accepted["operation_id"])
        assert operation["state"] == "completed"
        document = await app.document(accepted["documents"][0]["id"])
        assert document["status"] == "ready"
        assert len((await app.vector_ids())[document["id"]]) == document["chunk_count"]


class Crashing:
    """An operation of two documents whose worker vanishes, again and again, while both are in flight."""

    def __init__(self, database: Database, ledger: Ledger, blobs: BlobStore, collections: CollectionService) -> None:
        self.database = database
        self.collections = collections
        self.ledger = ledger
        self.states = DocumentStates(ledger, IngestionMetrics(), max_attempts=3)
        backlog = Backlog(database, Throughput(), max_documents=100, max_hours=24)
        self.documents = DocumentService(database, blobs, ledger, backlog, max_name_chars=255)
        self.blobs = blobs

    async def upload(self) -> str:
        await self.collections.ensure_default("local")
        files = []
        for number in range(2):
            blob = self.blobs.receive(100)
            await blob.write(b"document %d" % number)
            await blob.finish()
            files.append(ReceivedFile(f"{number}.txt", "text/plain", blob))
        accepted = await self.documents.add("default", "local", files)
        assert accepted.operation_id is not None
        return accepted.operation_id

    async def claim(self) -> Claim:
        (claim,) = await self.ledger.claim(5)
        return claim

    async def rows(self) -> list[Document]:
        async with self.database.read() as session:
            found = await self.documents.list_documents(
                "default", "local", status=None, media_type=None, tag=None, limit=10, cursor=None
            )
            return [row for item in found.items if (row := await session.get(Document, item.id)) is not None]


@pytest.fixture
def crashing(database: Database, ledger: Ledger, collections: CollectionService, tmp_path: Path) -> Crashing:
    blobs = BlobStore(tmp_path / "blobs", reserve_bytes=0, reserve_fraction=0.0)
    blobs.open()
    return Crashing(database, ledger, blobs, collections)


async def test_a_document_in_flight_at_three_crashes_fails_and_the_operation_goes_on(crashing: Crashing) -> None:
    operation_id = await crashing.upload()
    for _ in range(3):
        claim = await crashing.claim()
        poison, _ = await crashing.rows()
        await crashing.states.begin(claim, poison)
        await crashing.ledger.requeue_orphans()
    claim = await crashing.claim()
    poison, innocent = await crashing.rows()
    with pytest.raises(DocumentFailure, match="ended 3 times") as caught:
        await crashing.states.begin(claim, poison)
    assert (caught.value.code, caught.value.retryable) == ("internal", True)
    await crashing.states.begin(claim, innocent)
    assert (
        await OperationService(crashing.database, crashing.ledger, lambda _: None).get(operation_id, "local")
    ).state == "running"


async def test_an_end_that_was_noticed_is_not_counted_as_a_crash(crashing: Crashing) -> None:
    await crashing.upload()
    for _ in range(6):
        claim = await crashing.claim()
        document, _ = await crashing.rows()
        await crashing.states.begin(claim, document)
        await crashing.states.forgive(claim)
        await crashing.ledger.release(claim)
    document, _ = await crashing.rows()
    assert document.attempts == 0


async def test_a_page_that_was_kept_starts_the_count_anew(crashing: Crashing) -> None:
    await crashing.upload()
    for number in range(1, 6):
        claim = await crashing.claim()
        document, _ = await crashing.rows()
        await crashing.states.begin(claim, document)
        await crashing.states.checkpoint(claim, document, Reading(pages=[Page(number=number, text="kept")]))
        await crashing.ledger.requeue_orphans()
    document, _ = await crashing.rows()
    assert document.attempts == 0


async def test_vectors_that_a_crash_left_of_a_document_that_gave_up_go_at_the_next_start(tmp_path: Path) -> None:
    async with open_app(tmp_path) as app:
        (good, bad) = await app.ingest(("good.txt", b"Stormglass readings."), ("bad", b"\x7fELF" + b"\0" * 99))
        assert (good["status"], bad["status"]) == ("ready", "failed")
        vectors = await app.container.vectors.wait()
        (table,) = vectors.table_names()
        rows = ChunkBatch(["left-over"], ["words"], np.ones((1, app.embedder.dimension), dtype=np.float32))
        await vectors.commit_documents(table, [DocumentRows(bad["id"], True, [rows])])
        assert bad["id"] in await app.vector_ids()
    async with open_app(tmp_path) as app:
        await app.ingest(("next.txt", b"Committed after the start's own work."))
        assert bad["id"] not in await app.vector_ids()
        assert len(await app.vector_ids()) == 2
