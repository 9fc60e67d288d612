"""The queue has an end: past so many hours of work, uploads are told when to come back, and nothing of them stays."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from perplex_mono.library.backlog import MAX_RETRY_SECONDS, Backlog
from perplex_mono.storage.identity import new_id
from tests.app_client import App, open_app

URL = "/api/v1/collections/default/documents"
NEXT_TO_NOTHING = {"queue_hours": 1e-9}


def files(count: int) -> list[tuple[str, tuple[str, bytes]]]:
    return [("files", (f"{number}.txt", f"Some words of {new_id()}.".encode())) for number in range(count)]


async def upload(app: App, count: int) -> httpx.Response:
    return await app.client.post(URL, files=files(count))


async def gauge(app: App, name: str) -> float:
    lines = (await app.client.get("/metrics")).text.splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith(f"{name} "))


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[App]:
    """A server that has measured one document, and takes no more work than it can do at once."""
    async with open_app(tmp_path, limits=NEXT_TO_NOTHING) as opened:
        await opened.ingest(("first.txt", b"The first one tells how long it takes."))
        yield opened
        opened.embedder.turnstile.open()


async def test_more_hours_of_work_than_allowed_are_refused_with_a_time(app: App) -> None:
    app.embedder.turnstile.close()
    accepted = (await upload(app, 1)).json()
    refused = await upload(app, 1)
    assert (refused.status_code, refused.json()["type"]) == (429, "/problems/overloaded")
    assert 1 <= int(refused.headers["retry-after"]) <= MAX_RETRY_SECONDS
    assert "limits.queue_hours" in refused.json()["detail"]
    assert len((await app.client.get(URL)).json()["items"]) == 2, "of what was refused nothing is kept"
    assert len([path for path in (app.data / "blobs").iterdir() if path.is_file()]) == 2
    assert list((app.data / "blobs" / "incoming").iterdir()) == []
    app.embedder.turnstile.open()
    await app.settle(accepted["operation_id"])
    assert (await upload(app, 1)).status_code == 202


async def test_an_idle_server_takes_work_however_long_it_is(app: App) -> None:
    assert (await upload(app, 20)).status_code == 202


async def test_a_single_upload_is_taken_while_hours_of_other_work_wait(app: App) -> None:
    app.embedder.turnstile.close()
    assert (await upload(app, 3)).status_code == 202
    assert (await upload(app, 2)).status_code == 429
    assert (await upload(app, 1)).status_code == 202
    assert (await upload(app, 1)).status_code == 429, "another one does go before it"


async def test_paused_work_does_not_count(app: App) -> None:
    app.embedder.turnstile.close()
    accepted = (await upload(app, 2)).json()
    assert (await upload(app, 2)).status_code == 429
    await app.client.post(f"/api/v1/operations/{accepted['operation_id']}/pause")
    assert (await upload(app, 2)).status_code == 202


async def test_without_a_measurement_there_is_no_limit_of_hours(tmp_path: Path) -> None:
    async with open_app(tmp_path, limits=NEXT_TO_NOTHING) as app:
        app.embedder.turnstile.close()
        assert [(await upload(app, 1)).status_code for _ in range(3)] == [202] * 3
        app.embedder.turnstile.open()


async def test_the_queue_is_in_the_metrics(tmp_path: Path) -> None:
    async with open_app(tmp_path) as app:
        assert (await gauge(app, "queue_documents"), await gauge(app, "queue_oldest_seconds")) == (0, 0)
        assert str(await gauge(app, "queue_work_seconds")) == "nan"
        await app.ingest(("first.txt", b"The first one tells how long it takes."))
        assert await gauge(app, "queue_work_seconds") == 0
        app.embedder.turnstile.close()
        accepted = (await upload(app, 30)).json()
        assert await gauge(app, "queue_documents") == 30
        assert await gauge(app, "queue_work_seconds") > 0
        assert await gauge(app, "queue_oldest_seconds") > 0
        app.embedder.turnstile.open()
        await app.settle(accepted["operation_id"])
        assert [await gauge(app, f"queue_{name}") for name in ("documents", "work_seconds", "oldest_seconds")] == [
            0
        ] * 3


async def test_figures_that_cannot_be_counted_are_no_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(_: Backlog) -> None:
        raise RuntimeError("the database is away")

    monkeypatch.setattr(Backlog, "figures", broken)
    async with open_app(tmp_path) as app:
        assert str(await gauge(app, "queue_documents")) == "nan"
        assert await gauge(app, 'metrics_refresh_failures_total{section="queue"}') >= 1
        assert await gauge(app, 'operations_active{state="queued"}') == 0, "the others are counted all the same"


async def test_nobody_fills_the_places_of_all_others(tmp_path: Path) -> None:
    async with open_app(tmp_path, limits={"queue_documents": 10}) as app:
        await app.set_up()
        app.embedder.turnstile.close()
        assert (await upload(app, 9)).status_code == 202
        assert (await upload(app, 1)).status_code == 202, "there is nobody else yet"
        bob = await app.new_user("bob")
        assert (await bob.post(URL, files=files(1))).status_code == 429, "the queue is full"
        app.embedder.turnstile.open()
        for operation in (await app.client.get("/api/v1/operations")).json()["items"]:
            await app.settle(operation["id"])
        app.embedder.turnstile.close()
        assert (await upload(app, 9)).status_code == 202
        refused = await upload(app, 1)
        assert (refused.status_code, refused.json()["type"]) == (429, "/problems/overloaded")
        assert "at most 9 are one user's" in refused.json()["detail"]
        assert (await bob.post(URL, files=files(1))).status_code == 202
        app.embedder.turnstile.open()
