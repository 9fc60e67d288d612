"""Another model or another way to cut, without fear: searches never fail or go empty, and there is a way back."""

import asyncio
import io
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import func, select

from perplex_mono.library.models import Chunk, SearchIndex, StoredEmbedding, StoredPage
from perplex_mono.operations.models import Operation
from perplex_mono.storage.database import Database
from tests import documents as make
from tests.app_client import SCANNED_TEXT, App, open_app

SMALL = {"strategy": "fixed", "max_tokens": 16, "overlap_tokens": 0}
WALRUS = b"Walruses rest on the ice of the northern sea. " * 6
OTTER = b"Otters hold hands while they sleep in kelp. " * 6


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[App]:
    async with open_app(tmp_path) as opened:
        yield opened
        opened.embedder.turnstile.open()


async def _count(database: Database, table: Any, **values: object) -> int:
    query = select(func.count()).select_from(table)
    for name, value in values.items():
        query = query.where(getattr(table, name) == value)
    async with database.read() as session:
        return (await session.exec(query)).one()


def _database(app: App) -> Database:
    return app.container.operations._database


async def test_a_collection_is_cut_anew_and_switches_when_all_of_it_is_there(app: App) -> None:
    (walrus, _) = await app.ingest(("walrus.txt", WALRUS), ("otter.txt", OTTER))
    (before,) = await app.indexes()
    accepted = await app.reindex(chunking=SMALL)
    assert (await app.settle(accepted["operation_id"]))["state"] == "completed"
    old, new = await app.indexes()
    assert (old["id"], old["state"]) == (before["id"], "retired")
    assert (new["id"], new["state"], new["chunking"]) == (accepted["index_id"], "active", SMALL)
    assert (new["document_count"], old["document_count"]) == (2, 2)
    assert new["chunk_count"] > old["chunk_count"]
    shown = await app.document(walrus["id"])
    assert shown["chunk_count"] > walrus["chunk_count"]
    assert {len(ids) for ids in (await app.vector_ids()).values()} == {new["chunk_count"] // 2}
    assert (await app.names_found("walruses ice"))[0] == "walrus.txt"


async def test_the_same_cut_computes_no_vector_again_and_runs_no_ocr(app: App) -> None:
    await app.ingest(("scan.png", _scan()), ("walrus.txt", WALRUS))
    texts, pages = len(app.embedder.calls), len(app.ocr.seen)
    accepted = await app.reindex()
    assert (await app.settle(accepted["operation_id"]))["state"] == "completed"
    assert (len(app.embedder.calls), len(app.ocr.seen)) == (texts, pages)
    assert "scan.png" in await app.names_found(SCANNED_TEXT[0])


async def test_searches_go_on_in_the_old_index_until_the_new_one_is_whole(app: App) -> None:
    await app.ingest(("walrus.txt", WALRUS), ("otter.txt", OTTER))
    app.embedder.turnstile.close()
    accepted = await app.reindex(chunking=SMALL)
    await app.embedder.turnstile.reached.wait()
    assert set(await app.names_found("walruses otters sleep ice")) == {"walrus.txt", "otter.txt"}
    assert [index["state"] for index in await app.indexes()] == ["active", "building"]
    refused = await app.client.post(f"/api/v1/collections/default/indexes/{accepted['index_id']}/activate")
    assert refused.status_code == 409
    assert "being built" in refused.json()["detail"]
    second = await app.client.post("/api/v1/collections/default/reindex", json={})
    assert second.status_code == 409
    assert accepted["operation_id"] in second.json()["detail"]
    app.embedder.turnstile.open()
    await app.settle(accepted["operation_id"])
    assert set(await app.names_found("walruses otters sleep ice")) == {"walrus.txt", "otter.txt"}


async def test_no_search_fails_or_finds_less_at_any_moment_of_a_switch(app: App) -> None:
    await app.ingest(("walrus.txt", WALRUS), ("otter.txt", OTTER))
    found: list[set[str]] = []
    is_over = asyncio.Event()

    async def search_without_pause() -> None:
        for mode in cycle(("dense", "sparse", "hybrid")):
            if is_over.is_set():
                return
            question = f"walruses otters sleep ice {len(found)}"  # each another one: none is answered from the cache
            found.append(set(await app.names_found(question, mode=mode)))

    searching = [asyncio.create_task(search_without_pause()) for _ in range(2)]
    (kept,) = await app.indexes()
    for change in ({"chunking": SMALL}, {"model": "fake-48"}):
        accepted = await app.reindex(**change)
        assert (await app.settle(accepted["operation_id"]))["state"] == "completed"
    back = await app.client.post(f"/api/v1/collections/default/indexes/{kept['id']}/activate")
    assert back.status_code == 200, back.text
    searched = len(found)
    while len(found) < searched + 12:
        assert not any(task.done() for task in searching)
        await asyncio.sleep(0)
    is_over.set()
    await asyncio.gather(*searching)
    assert all(names == {"walrus.txt", "otter.txt"} for names in found)


async def test_what_is_uploaded_meanwhile_is_in_the_new_index_too(app: App) -> None:
    await app.ingest(("walrus.txt", WALRUS))
    app.embedder.turnstile.close()
    accepted = await app.reindex(chunking=SMALL)
    await app.embedder.turnstile.reached.wait()
    uploads = [
        await app.upload((f"{number}.txt", b"Puffin number %d nests in a burrow." % number)) for number in range(6)
    ]
    app.embedder.turnstile.open()
    for upload in uploads:
        assert (await app.settle(upload["operation_id"]))["state"] == "completed"
    assert (await app.settle(accepted["operation_id"]))["state"] == "completed"
    (new,) = [index for index in await app.indexes() if index["state"] == "active"]
    assert (new["id"], new["document_count"]) == (accepted["index_id"], 7)
    assert len(await app.vector_ids()) == 7
    assert sorted(set(await app.names_found("puffin burrow", mode="sparse"))) == [
        f"{number}.txt" for number in range(6)
    ]


async def test_another_model_with_other_dimensions_answers_after_the_switch(app: App) -> None:
    await app.ingest(("walrus.txt", WALRUS), ("otter.txt", OTTER))
    accepted = await app.reindex(model="fake-48")
    assert (await app.settle(accepted["operation_id"]))["state"] == "completed"
    (new,) = [index for index in await app.indexes() if index["state"] == "active"]
    assert (new["model"], new["model_key"], new["dimension"]) == ("fake-48", "fake-48", 48)
    found = await app.search("walruses ice", mode="dense", explain=True)
    assert found["warnings"] == []
    assert found["hits"][0]["document"]["name"] == "walrus.txt"
    await app.ingest(("puffin.txt", b"Puffins nest in burrows."))
    assert (await app.names_found("puffins nest", mode="dense"))[0] == "puffin.txt"


async def test_a_search_over_collections_of_two_models_asks_each_its_own(app: App) -> None:
    other = await app.new_collection("other")
    await app.ingest(("walrus.txt", WALRUS))
    await app.ingest(("otter.txt", OTTER), collection=other)
    accepted = await app.reindex(other, model="fake-48")
    await app.settle(accepted["operation_id"])
    names = await app.names_found("walruses otters", mode="dense", collection_ids=["default", other])
    assert set(names) == {"walrus.txt", "otter.txt"}


async def test_going_back_is_one_call_and_finds_what_came_meanwhile(app: App) -> None:
    await app.ingest(("walrus.txt", WALRUS))
    (before,) = await app.indexes()
    accepted = await app.reindex(model="fake-48", chunking=SMALL)
    await app.settle(accepted["operation_id"])
    await app.ingest(("otter.txt", OTTER))
    app.embedder.turnstile.close()
    answer = await app.client.post(f"/api/v1/collections/default/indexes/{before['id']}/activate")
    assert answer.status_code == 200, answer.text
    activated = answer.json()
    assert (activated["index"]["state"], activated["missing_documents"]) == ("active", 1)
    for mode in ("dense", "sparse", "hybrid"):
        assert {"walrus.txt", "otter.txt"} == set(await app.names_found("walruses otters kelp", mode=mode)), mode
    app.embedder.turnstile.open()
    assert (await app.settle(activated["operation_id"]))["state"] == "completed"
    (active,) = [index for index in await app.indexes() if index["state"] == "active"]
    assert (active["id"], active["document_count"]) == (before["id"], 2)
    assert {"walrus.txt", "otter.txt"} == set(await app.names_found("walruses otters kelp", mode="dense"))
    again = await app.client.post(f"/api/v1/collections/default/indexes/{before['id']}/activate")
    assert (again.status_code, again.json()["operation_id"]) == (200, None)


async def test_changing_ones_mind_while_it_catches_up_loses_nothing(app: App) -> None:
    await app.ingest(("walrus.txt", WALRUS))
    for chunking in (SMALL, {**SMALL, "max_tokens": 20}):
        await app.settle((await app.reindex(chunking=chunking))["operation_id"])
    first, second, third = [index["id"] for index in await app.indexes()]
    await app.ingest(("otter.txt", OTTER))
    app.embedder.turnstile.close()
    path = "/api/v1/collections/default/indexes"
    catching_up = (await app.client.post(f"{path}/{first}/activate")).json()["operation_id"]
    refused = await app.client.post(f"{path}/{second}/activate")
    assert refused.status_code == 409
    assert third in refused.json()["detail"]
    back = (await app.client.post(f"{path}/{third}/activate")).json()
    assert (back["missing_documents"], back["operation_id"]) == (0, None)
    app.embedder.turnstile.open()
    assert (await app.settle(catching_up))["state"] == "completed"
    assert [index["state"] for index in await app.indexes()] == ["retired", "retired", "active"]
    assert {"walrus.txt", "otter.txt"} == set(await app.names_found("walruses otters kelp", mode="dense"))


async def test_a_cancelled_reindexing_leaves_nothing_behind(app: App) -> None:
    await app.ingest(("walrus.txt", WALRUS))
    (before,) = await app.indexes()
    app.embedder.turnstile.close()
    accepted = await app.reindex(chunking=SMALL)
    await app.embedder.turnstile.reached.wait()
    cancelled = await app.client.post(f"/api/v1/operations/{accepted['operation_id']}/cancel")
    assert cancelled.status_code == 200
    app.embedder.turnstile.open()
    assert [index["id"] for index in await app.indexes()] == [before["id"]]
    retried = await app.client.post(f"/api/v1/operations/{accepted['operation_id']}/retry")
    assert retried.status_code == 409
    assert retried.json()["detail"].endswith("begin a new one with reindex.")
    await _settle(app, "delete")
    assert await _count(_database(app), SearchIndex) == 1
    assert await _count(_database(app), Chunk, index_id=accepted["index_id"]) == 0
    vectors = await app.container.vectors.wait()
    assert len(vectors.table_names()) == 1
    assert (await app.names_found("walruses"))[0] == "walrus.txt"


async def test_a_document_deleted_meanwhile_stays_deleted(app: App) -> None:
    (walrus, _) = await app.ingest(("walrus.txt", WALRUS), ("otter.txt", OTTER))
    app.embedder.turnstile.close()
    accepted = await app.reindex(chunking=SMALL)
    await app.embedder.turnstile.reached.wait()
    await app.client.delete(f"/api/v1/documents/{walrus['id']}")
    app.embedder.turnstile.open()
    assert (await app.settle(accepted["operation_id"]))["state"] == "completed"
    await _settle(app, "delete")
    assert set(await app.names_found("walruses otters ice")) == {"otter.txt"}
    assert walrus["id"] not in await app.vector_ids()


async def test_an_index_that_is_dropped_takes_its_chunks_and_vectors_along(app: App) -> None:
    await app.ingest(("walrus.txt", WALRUS))
    (before,) = await app.indexes()
    refused = await app.client.delete(f"/api/v1/collections/default/indexes/{before['id']}")
    assert refused.status_code == 409
    accepted = await app.reindex(model="fake-48")
    await app.settle(accepted["operation_id"])
    dropped = await app.client.delete(f"/api/v1/collections/default/indexes/{before['id']}")
    assert dropped.status_code == 202
    await app.settle(dropped.json()["operation_id"])
    assert [index["id"] for index in await app.indexes()] == [accepted["index_id"]]
    assert await _count(_database(app), Chunk, index_id=before["id"]) == 0
    assert await _count(_database(app), StoredEmbedding, model_key=before["model_key"]) == 0
    assert await _count(_database(app), StoredEmbedding, model_key="fake-48") > 0
    gone = await app.client.post(f"/api/v1/collections/default/indexes/{before['id']}/activate")
    assert gone.status_code == 404


async def test_what_cannot_work_is_refused_with_what_would(app: App) -> None:
    for wanted, word in (
        ({"model": "nowhere"}, "not on this machine"),
        ({"chunking": {"max_tokens": 5000}}, "needs a value"),
        ({"chunking": {"strategy": "magic"}}, "must be one of"),
    ):
        answer = await app.client.post("/api/v1/collections/default/reindex", json=wanted)
        assert answer.status_code == 400, answer.text
        assert word in answer.json()["detail"]
    for path in ("/api/v1/collections/nobody/reindex", "/api/v1/collections/default/indexes/nobody/activate"):
        assert (await app.client.post(path, json={})).status_code == 404
    assert len(await app.indexes()) == 1


async def test_an_interrupted_reindexing_goes_on_where_it_was(tmp_path: Path) -> None:
    async with open_app(tmp_path) as app:
        await app.ingest(*[(f"{number}.txt", b"Puffin number %d. " % number * 40) for number in range(5)])
        app.embedder.turnstile.close()
        accepted = await app.reindex(chunking=SMALL)
        await app.embedder.turnstile.reached.wait()
    async with open_app(tmp_path) as app:
        assert (await app.settle(accepted["operation_id"]))["state"] == "completed"
        assert [index["state"] for index in await app.indexes()] == ["retired", "active"]
        assert len(await app.vector_ids()) == 5


async def test_pause_holds_a_reindexing_and_resume_ends_it(app: App) -> None:
    await app.ingest(("walrus.txt", WALRUS))
    app.embedder.turnstile.close()
    accepted = await app.reindex(chunking=SMALL)
    await app.embedder.turnstile.reached.wait()
    assert (await app.client.post(f"/api/v1/operations/{accepted['operation_id']}/pause")).json()["state"] == "paused"
    app.embedder.turnstile.open()
    assert [index["state"] for index in await app.indexes()] == ["active", "building"]
    await app.client.post(f"/api/v1/operations/{accepted['operation_id']}/resume")
    assert (await app.settle(accepted["operation_id"]))["state"] == "completed"


def _scan() -> bytes:
    buffer = io.BytesIO()
    make.picture("drawn").save(buffer, "PNG")
    return buffer.getvalue()


async def test_a_document_with_a_damaged_page_holds_up_no_other(app: App) -> None:
    (walrus, _) = await app.ingest(("walrus.txt", WALRUS), ("otter.txt", OTTER))
    async with _database(app).write() as session:
        page = (await session.exec(select(StoredPage).where(StoredPage.sha256 == walrus["sha256"]))).one()
        page.payload = b"damaged"
    accepted = await app.reindex(chunking=SMALL)
    assert (await app.settle(accepted["operation_id"]))["state"] == "completed"
    (warning,) = [event for event in await app.events(accepted["operation_id"]) if event["type"] == "warning"]
    assert warning["data"]["name"] == "walrus.txt"
    await _settle(app, "ingest")
    (active,) = [index for index in await app.indexes() if index["state"] == "active"]
    assert (active["id"], active["document_count"]) == (accepted["index_id"], 2)
    assert {"walrus.txt", "otter.txt"} == set(await app.names_found("walruses otters kelp", mode="dense"))


async def test_the_same_bytes_are_read_one_way_whatever_they_are_called(app: App) -> None:
    rows = "\n".join(f"walrus,{number},ice" for number in range(400)).encode()
    other = await app.new_collection("other")
    (first,) = await app.ingest(("e.txt", rows))
    (second,) = await app.ingest(("e.csv", rows), collection=other)
    assert (second["media_type"], second["page_count"]) == (first["media_type"], first["page_count"])
    assert (await app.settle((await app.reindex())["operation_id"]))["state"] == "completed"


async def test_toggling_quickly_ends_with_everything_in_the_chosen_index(app: App) -> None:
    await app.ingest(("walrus.txt", WALRUS))
    await app.settle((await app.reindex(chunking=SMALL))["operation_id"])
    first, second = [index["id"] for index in await app.indexes()]
    await app.ingest(("otter.txt", OTTER))
    app.embedder.turnstile.close()
    path = "/api/v1/collections/default/indexes"
    operations = [(await app.client.post(f"{path}/{key}/activate")).json() for key in (first, second, first)]
    app.embedder.turnstile.open()
    for answer in operations:
        if answer["operation_id"] is not None:
            assert (await app.settle(answer["operation_id"]))["state"] == "completed"
            assert "retrying" not in [event["type"] for event in await app.events(answer["operation_id"])]
    assert {index["id"]: index["state"] for index in await app.indexes()} == {first: "active", second: "retired"}
    assert len(await app.vector_ids()) == 2


async def test_a_cancelled_catch_up_is_begun_again_by_activating_again(app: App) -> None:
    await app.ingest(("walrus.txt", WALRUS))
    await app.settle((await app.reindex(chunking=SMALL))["operation_id"])
    first, _ = [index["id"] for index in await app.indexes()]
    await app.ingest(("otter.txt", OTTER))
    app.embedder.turnstile.close()
    path = f"/api/v1/collections/default/indexes/{first}/activate"
    begun = (await app.client.post(path)).json()
    await app.client.post(f"/api/v1/operations/{begun['operation_id']}/cancel")
    app.embedder.turnstile.open()
    again = (await app.client.post(path)).json()
    assert again["missing_documents"] == 1
    assert (await app.settle(again["operation_id"]))["state"] == "completed"
    assert len(await app.vector_ids()) == 2


async def test_a_document_in_both_indexes_is_found_once(app: App) -> None:
    await app.ingest(("walrus.txt", WALRUS))
    await app.settle((await app.reindex())["operation_id"])
    first, _ = [index["id"] for index in await app.indexes()]
    await app.ingest(("otter.txt", OTTER))
    app.embedder.turnstile.close()
    await app.client.post(f"/api/v1/collections/default/indexes/{first}/activate")
    hits = (await app.search("walruses otters kelp ice", limit=50))["hits"]
    assert sorted(hit["document"]["name"] for hit in hits) == ["otter.txt", "walrus.txt"]


async def test_a_model_is_opened_once_however_it_is_spelled(app: App) -> None:
    for wanted in ({"model": "fake-48"}, {"model": "fake-048"}):
        await app.settle((await app.reindex(**wanted))["operation_id"])
    assert [index["model"] for index in await app.indexes()] == ["bundled", "fake-48", "fake-48"]
    refused = await app.client.post("/api/v1/collections/default/reindex", json={"model": "/" + "x" * 300})
    assert refused.status_code == 400


async def test_a_deletion_that_gave_up_is_tried_again(app: App) -> None:
    (walrus,) = await app.ingest(("walrus.txt", WALRUS))
    deletion = (await app.client.delete(f"/api/v1/documents/{walrus['id']}")).json()["operation_id"]
    await app.settle(deletion)
    async with _database(app).write() as session:
        operation = await session.get_one(Operation, deletion)
        operation.state, operation.finished_at = "dead", datetime(2026, 1, 1, tzinfo=UTC)
    await app.container.housekeeper.round()
    assert (await app.settle(deletion))["state"] == "completed"


async def _settle(app: App, kind: str) -> None:
    listed = await app.client.get("/api/v1/operations", params={"kind": kind})
    await asyncio.gather(*(app.settle(item["id"]) for item in listed.json()["items"]))


async def test_without_room_on_the_disk_no_index_is_begun(app: App) -> None:
    await app.ingest(("walrus.txt", WALRUS))
    app.container.blobs.disk_reserve.keep(10**18, 1.0)
    refused = await app.client.post("/api/v1/collections/default/reindex", json={})
    assert (refused.status_code, refused.json()["type"]) == (507, "/problems/storage-full")
    assert (await app.client.post("/api/v1/collections/nowhere/reindex", json={})).status_code == 404
    assert len(await app.indexes()) == 1
