"""Pause, resume, cancel and retry: nothing is lost by a pause, nothing stays behind a cancel, whenever they come."""

import asyncio
import random
import threading
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import func, select

from perplex_mono.ingestion.pages import Page
from perplex_mono.ingestion.pipeline import BATCH_PAGES, BATCHES_AHEAD
from perplex_mono.ingestion.reader_pool import ReaderPool
from perplex_mono.ingestion.readers.contract import ReaderItem, ReadRequest
from perplex_mono.library.models import Chunk, Document, StoredPage
from tests import documents as make
from tests.app_client import App, open_app, settings_for
from tests.figures import Counted
from tests.stepwise_reader import StepwiseReader

PAGES = 8
TEXT_PAGES = 200
# One batch is embedded, the queue is full, and one more waits to enter it.
PAGES_IN_HAND = (1 + BATCHES_AHEAD + 1) * BATCH_PAGES


async def act(app: App, action: str, operation_id: str, status: int = 200) -> dict[str, Any]:
    answer = await app.client.post(f"/api/v1/operations/{operation_id}/{action}")
    assert answer.status_code == status, answer.text
    body: dict[str, Any] = answer.json()
    return body


async def until(condition: Callable[[], bool]) -> None:
    """Look at every turn of the event loop."""
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110  # what is awaited sets no event
            await asyncio.sleep(0)


async def statuses(app: App) -> list[str]:
    items = (await app.client.get("/api/v1/collections/default/documents")).json()["items"]
    return sorted(item["status"] for item in items)


async def found(app: App, word: str) -> set[str]:
    return set(await app.names_found(word, mode="sparse", limit=100))


async def count(app: App, table: type[Chunk] | type[StoredPage]) -> int:
    async with app.container.operations._database.read() as session:
        return (await session.exec(select(func.count()).select_from(table))).one()


async def put_away(app: App) -> None:
    """Wait until whoever worked at something has let go of it."""
    counted = await Counted.begin(app)
    async with asyncio.timeout(60):
        while counted.now("operations_running"):
            await counted.look()


async def require_whole(app: App) -> None:
    """Every ready document is in the vector table with exactly its chunks, and no other document is."""
    async with app.container.operations._database.read() as session:
        ready = select(Chunk.document_id, Chunk.id).join(Document).where(Document.status == "ready")
        expected: dict[str, set[str]] = {}
        for document_id, chunk_id in (await session.exec(ready)).all():
            expected.setdefault(document_id, set()).add(chunk_id)
    assert {document_id: set(ids) for document_id, ids in (await app.vector_ids()).items() if ids} == expected


def texts(number: int) -> list[tuple[str, bytes]]:
    return [(f"{n}.txt", f"The warbler{n} sang in the reeds. ".encode() * 40) for n in range(number)]


@pytest.fixture
def scan(tmp_path: Path) -> tuple[str, bytes]:
    """A scan whose pages all look different."""
    return "scan.pdf", make.scanned_pdf(tmp_path / "scan.pdf", [f"Page {n}" for n in range(PAGES)]).read_bytes()


@pytest.fixture
def long_text(tmp_path: Path) -> tuple[str, bytes]:
    """A PDF with more pages of text than are read ahead."""
    pages = [f"Page {n} says that the bittern{n} boomed." for n in range(TEXT_PAGES)]
    return "long.pdf", make.text_pdf(tmp_path / "long.pdf", pages).read_bytes()


@pytest.fixture
def received(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The numbers of the text pages that reader children hand over, as they come."""
    numbers: list[int] = []
    read = ReaderPool.read

    async def watched(pool: ReaderPool, request: ReadRequest, *, is_urgent: bool) -> AsyncGenerator[ReaderItem, None]:
        async with aclosing(read(pool, request, is_urgent=is_urgent)) as items:
            async for item in items:
                if isinstance(item, Page):
                    numbers.append(item.number)
                yield item

    monkeypatch.setattr(ReaderPool, "read", watched)
    return numbers


async def test_a_paused_scan_goes_on_without_reading_a_page_twice(tmp_path: Path, scan: tuple[str, bytes]) -> None:
    async with open_app(tmp_path, ocr={"threads": 1}) as app:
        app.ocr.turnstile.close()
        accepted = await app.upload(scan)
        operation_id = accepted["operation_id"]
        await app.ocr.turnstile.reached.wait()
        app.ocr.turnstile.open()
        await until(lambda: len(app.ocr.seen) >= 3)
        app.ocr.turnstile.close()
        await app.ocr.turnstile.reached.wait()
        async with asyncio.timeout(60):
            while await count(app, StoredPage) < len(app.ocr.seen):
                pass
        paused = await act(app, "pause", operation_id)
        assert paused["state"] == "paused"
        assert paused["eta_seconds"] is None
        await asyncio.sleep(0.3)
        app.ocr.turnstile.open()
        read = len(app.ocr.seen)
        await asyncio.sleep(0.3)
        assert len(app.ocr.seen) == read < PAGES
        assert await found(app, "walruses") == set()
        assert (await act(app, "resume", operation_id))["state"] == "queued"
        assert (await app.settle(operation_id))["state"] == "completed"
        assert len(app.ocr.seen) == PAGES
        assert await found(app, "walruses") == {"scan.pdf"}
        types = [event["type"] for event in await app.events(operation_id)]
        assert types.index("paused") < types.index("resumed") < types.index("completed")
        await require_whole(app)


@pytest.mark.parametrize("threads", [1, 2])
async def test_a_pause_costs_at_most_the_page_that_each_ocr_thread_has_in_hand(
    tmp_path: Path, scan: tuple[str, bytes], threads: int
) -> None:
    reader = StepwiseReader()
    engine = reader.engine(threads=threads)
    async with open_app(tmp_path, ocr_engine=engine, ocr={"threads": threads}) as app:
        operation_id = (await app.upload(scan))["operation_id"]
        reader.allow(3)
        await until(lambda: len(reader.begun) == 3 + threads)
        async with asyncio.timeout(60):
            while await count(app, StoredPage) < 3:
                pass
        await act(app, "pause", operation_id)
        await put_away(app)
        reader.allow(2 * PAGES)
        await until(lambda: engine.status().running == 0)
        assert len(reader.begun) == 3 + threads, "no page is begun after the pause"
        await act(app, "resume", operation_id)
        assert (await app.settle(operation_id))["state"] == "completed"
        assert len(set(reader.begun)) == PAGES
        assert len(reader.begun) == PAGES + threads
        await require_whole(app)


async def in_hand(app: App, received: list[int], long_text: tuple[str, bytes]) -> str:
    """The operation of a text of which as much was read as goes ahead of the model."""
    app.embedder.turnstile.close()
    operation_id = str((await app.upload(long_text))["operation_id"])
    await until(lambda: len(received) == PAGES_IN_HAND)
    return operation_id


async def test_a_pause_keeps_text_that_was_read_and_not_yet_embedded(
    tmp_path: Path, received: list[int], long_text: tuple[str, bytes]
) -> None:
    async with open_app(tmp_path) as app:
        operation_id = await in_hand(app, received, long_text)
        await act(app, "pause", operation_id)
        await put_away(app)
        assert await count(app, StoredPage) == PAGES_IN_HAND
        assert await count(app, Chunk) == 0
        app.embedder.turnstile.open()
        await act(app, "resume", operation_id)
        assert (await app.settle(operation_id))["state"] == "completed"
        assert received == list(range(1, TEXT_PAGES + 1))
        await require_whole(app)


async def test_a_shutdown_keeps_text_that_was_read_and_not_yet_embedded(
    tmp_path: Path, received: list[int], long_text: tuple[str, bytes]
) -> None:
    async with open_app(tmp_path) as app:
        operation_id = await in_hand(app, received, long_text)
    async with open_app(tmp_path) as app:
        assert (await app.settle(operation_id))["state"] == "completed"
        assert received == list(range(1, TEXT_PAGES + 1))
        await require_whole(app)


async def test_what_is_put_away_after_a_cancel_is_refused(
    tmp_path: Path, received: list[int], long_text: tuple[str, bytes]
) -> None:
    async with open_app(tmp_path) as app:
        operation_id = await in_hand(app, received, long_text)
        await act(app, "cancel", operation_id)
        await put_away(app)
        assert await count(app, StoredPage) == 0


async def test_a_pause_outlives_the_server(tmp_path: Path) -> None:
    async with open_app(tmp_path) as app:
        app.embedder.turnstile.close()
        operation_id = (await app.upload(*texts(3)))["operation_id"]
        await app.embedder.turnstile.reached.wait()
        await act(app, "pause", operation_id)
    async with open_app(tmp_path) as app:
        await asyncio.sleep(0.3)
        assert (await app.client.get(f"/api/v1/operations/{operation_id}")).json()["state"] == "paused"
        await act(app, "resume", operation_id)
        assert (await app.settle(operation_id))["state"] == "completed"
        assert await statuses(app) == ["ready"] * 3
        await require_whole(app)


async def test_pausing_again_and_again_blames_no_document(tmp_path: Path) -> None:
    async with open_app(tmp_path) as app:
        app.embedder.turnstile.close()
        operation_id = (await app.upload(*texts(2)))["operation_id"]
        for _ in range(5):
            await app.embedder.turnstile.reached.wait()
            await act(app, "pause", operation_id)
            app.embedder.turnstile.close()
            await act(app, "resume", operation_id)
        app.embedder.turnstile.open()
        assert (await app.settle(operation_id))["failed_count"] == 0
        assert await statuses(app) == ["ready"] * 2


async def test_cancel_keeps_what_is_ready_and_removes_the_rest_until_it_is_retried(
    tmp_path: Path, scan: tuple[str, bytes]
) -> None:
    async with open_app(tmp_path, ocr={"threads": 1}) as app:
        app.ocr.turnstile.close()
        operation_id = (await app.upload(scan, *texts(2)))["operation_id"]
        async with asyncio.timeout(60):
            while (await statuses(app)).count("ready") < 2:
                pass
        await app.ocr.turnstile.reached.wait()
        app.ocr.turnstile.open()
        await until(lambda: len(app.ocr.seen) >= 2)
        app.ocr.turnstile.close()
        pages_of_texts, chunks_of_texts = 2, len([i for ids in (await app.vector_ids()).values() for i in ids])
        cancelled = await act(app, "cancel", operation_id)
        assert cancelled["state"] == "cancelled"
        assert cancelled["finished_at"] is not None
        assert await statuses(app) == ["cancelled", "ready", "ready"]
        app.ocr.turnstile.open()
        await asyncio.sleep(0.3)
        assert await count(app, StoredPage) == pages_of_texts
        assert await count(app, Chunk) == chunks_of_texts
        await require_whole(app)
        assert await found(app, "walruses") == set()
        assert await found(app, "warbler1") == {"1.txt"}

        assert (await act(app, "retry", operation_id))["state"] == "queued"
        assert (await app.settle(operation_id))["state"] == "completed"
        assert await statuses(app) == ["ready"] * 3
        assert await found(app, "walruses") == {"scan.pdf"}
        await require_whole(app)


async def test_an_attachment_that_was_cancelled_comes_back_with_its_message(tmp_path: Path) -> None:
    message = EmailMessage()
    message["Subject"] = "Two birds"
    message.set_content("The dunlin is in the attachment.")
    message.add_attachment(b"The curlew is attached. " * 20, maintype="text", subtype="plain", filename="curlew.txt")
    async with open_app(tmp_path) as app:
        app.embedder.turnstile.close()
        first = await app.upload(("birds.eml", message.as_bytes()))
        await app.embedder.turnstile.reached.wait()
        while len(await statuses(app)) < 2:  # noqa: ASYNC110  # the attachment's row sets no event
            await asyncio.sleep(0.01)
        await act(app, "cancel", first["operation_id"])
        assert await statuses(app) == ["cancelled"] * 2
        app.embedder.turnstile.open()
        again = await app.upload(("birds.eml", message.as_bytes()))
        await app.settle(again["operation_id"])
        assert await statuses(app) == ["ready"] * 2
        assert await found(app, "curlew") == {"curlew.txt"}


async def test_cancel_leaves_the_pages_that_another_try_still_needs(tmp_path: Path, scan: tuple[str, bytes]) -> None:
    async with open_app(tmp_path) as app:
        (document,) = await app.ingest(scan)
        async with app.container.operations._database.write() as session:
            row = await session.get_one(Document, document["id"])
            row.status, row.failure_code = "failed", "timeout"
        other = await app.new_collection("other")
        app.embedder.turnstile.close()
        held = (await app.upload(scan, ("more.txt", b"Something new."), collection=other))["operation_id"]
        await app.embedder.turnstile.reached.wait()
        await act(app, "cancel", held)
        assert await count(app, StoredPage) == PAGES


async def test_retry_takes_up_the_failed_documents_of_a_completed_operation(
    tmp_path: Path, scan: tuple[str, bytes]
) -> None:
    async with open_app(tmp_path) as app:
        app.ocr.fail("no model here")
        operation_id = (await app.upload(scan, *texts(2)))["operation_id"]
        ended = await app.settle(operation_id)
        assert (ended["state"], ended["failed_count"]) == ("completed", 1)
        embedded = len(app.embedder.calls)
        retried = await act(app, "retry", operation_id)
        assert (retried["state"], retried["failed_count"], retried["error"]) == ("queued", 0, None)
        assert retried["total"] - retried["done"] == 1, "one document is left to do"
        again = await app.settle(operation_id)
        assert (again["state"], again["failed_count"]) == ("completed", 1)
        assert await statuses(app) == ["failed", "ready", "ready"]
        assert len(app.embedder.calls) == embedded
        failures = [event for event in await app.events(operation_id) if event["type"] == "document_failed"]
        assert len(failures) == 2


async def test_what_is_not_allowed_is_a_conflict_that_names_what_is(tmp_path: Path) -> None:
    async with open_app(tmp_path) as app:
        done = (await app.upload(*texts(1)))["operation_id"]
        await app.settle(done)
        for action in ("pause", "resume", "cancel", "retry"):
            problem = await act(app, action, done, status=409)
            assert "is completed and cannot be" in problem["detail"]
            assert "nothing is allowed now" in problem["detail"]
        app.embedder.turnstile.close()
        running = (await app.upload(("new.txt", b"A new text about a plover.")))["operation_id"]
        await app.embedder.turnstile.reached.wait()
        assert "allowed now: pause, cancel" in (await act(app, "resume", running, status=409))["detail"]
        await act(app, "pause", running)
        assert "allowed now: resume, cancel" in (await act(app, "pause", running, status=409))["detail"]
        await act(app, "cancel", running)
        assert "allowed now: retry" in (await act(app, "resume", running, status=409))["detail"]
        assert (await act(app, "cancel", "0197a2b4-0000-7000-8000-000000000000", status=404))["status"] == 404


async def test_a_deletion_cannot_be_held_up(tmp_path: Path) -> None:
    async with open_app(tmp_path) as app:
        (document,) = await app.ingest(*texts(1))
        answer = await app.client.delete(f"/api/v1/documents/{document['id']}")
        deletion = answer.json()["operation_id"]
        for action in ("pause", "cancel"):
            await act(app, action, deletion, status=409)
        assert (await app.settle(deletion))["state"] == "completed"


@pytest.mark.parametrize("seed", range(3))
async def test_whatever_is_said_whenever_everything_ends_whole(
    tmp_path: Path, scan: tuple[str, bytes], seed: int
) -> None:
    """Sixty words a run at random moments, then whatever it takes to finish."""
    chance = random.Random(seed)  # not for secrets
    async with open_app(tmp_path, ingestion={"commit_seconds": 0.02}) as app:
        operation_id = (await app.upload(scan, *texts(6)))["operation_id"]
        refused = 0
        for _ in range(60):
            await asyncio.sleep(chance.choice((0, 0.002, 0.01, 0.05)))
            action = chance.choice(("pause", "resume", "pause", "resume", "cancel", "retry", "retry"))
            answer = await app.client.post(f"/api/v1/operations/{operation_id}/{action}")
            assert answer.status_code in (200, 409), answer.text
            refused += answer.status_code == 409
            if answer.status_code == 200 and action == "cancel":
                assert set(await statuses(app)) <= {"ready", "cancelled"}
        assert 0 < refused < 60
        state = (await app.client.get(f"/api/v1/operations/{operation_id}")).json()["state"]
        if state in ("paused", "cancelled"):
            await act(app, "resume" if state == "paused" else "retry", operation_id)
        assert (await app.settle(operation_id))["state"] == "completed"
        assert await statuses(app) == ["ready"] * 7
        await require_whole(app)
        for n in range(6):
            assert await found(app, f"warbler{n}") == {f"{n}.txt"}


async def test_a_folder_that_is_about_to_be_made_when_work_is_cancelled_does_not_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on = threading.Event(), threading.Event()
    async with open_app(tmp_path) as app:
        make_folder = app.container.blobs.working_directory

        def slowly() -> Path:
            begun.set()
            go_on.wait(60)
            return make_folder()

        monkeypatch.setattr(app.container.blobs, "working_directory", slowly)
        accepted = await app.upload(("heron.txt", b"The heron waits."))
        await asyncio.to_thread(begun.wait, 60)
        assert (await act(app, "cancel", accepted["operation_id"]))["state"] == "cancelled"
        go_on.set()
    assert list((settings_for(tmp_path).data_directory / "blobs" / "incoming").iterdir()) == []
