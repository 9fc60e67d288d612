"""An operation that hangs is reported and interrupted while others get on; one that waits for others is not."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from perplex_mono.container import background
from perplex_mono.operations.stalls import StallWatch
from tests import documents as make
from tests.app_client import App, open_app
from tests.figures import Counted
from tests.stepwise_reader import StepwiseReader

STALL_SECONDS = 1800.0


class WatchWithManualTime(StallWatch):
    """The real one, on seconds that a test moves."""

    def __init__(self, limit_seconds: float, patience_seconds: float) -> None:
        self.now = 0.0
        super().__init__(limit_seconds, patience_seconds, clock=lambda: self.now)


@pytest.fixture
def watches(monkeypatch: pytest.MonkeyPatch) -> list[WatchWithManualTime]:
    """The watch of each application that the test opens."""
    opened: list[WatchWithManualTime] = []

    def watch(limit_seconds: float, patience_seconds: float) -> WatchWithManualTime:
        opened.append(WatchWithManualTime(limit_seconds, patience_seconds))
        return opened[-1]

    monkeypatch.setattr(background, "StallWatch", watch)
    return opened


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110  # what is awaited sets no event
            await asyncio.sleep(0.01)


async def begin(reader: StepwiseReader, pages: int) -> None:
    """Wait until OCR has begun so many pages."""
    await until(lambda: len(reader.begun) == pages)


async def age(app: App) -> float:
    """What the gauge shows."""
    counted = await Counted.begin(app)
    return counted.now("operation_progress_age_seconds")


async def test_who_hangs_in_ocr_and_who_waits_for_it_are_found_while_others_get_on(
    tmp_path: Path, watches: list[WatchWithManualTime]
) -> None:
    reader = StepwiseReader()
    engine = reader.engine(threads=1)
    async with open_app(tmp_path, ocr_engine=engine, ingestion={"lease_seconds": 5.0}) as app:
        hung = (await app.upload(("hung.pdf", _scan(tmp_path, 1))))["operation_id"]
        await begin(reader, 1)
        waiting = (await app.upload(("waiting.pdf", _scan(tmp_path, 2))))["operation_id"]
        await until(lambda: engine.status().queued == 2)
        await app.next_event(hung, "progress")
        await app.next_event(waiting, "progress")

        watches[0].now = 1000.0
        await app.ingest(("first.txt", b"The first gull cries."))
        assert await age(app) == 1000
        watches[0].now = 2000.0
        for operation_id in (hung, waiting):
            retrying = await app.next_event(operation_id, "retrying")
            assert retrying["data"]["error"]["type"] == "Stalled"
        reader.allow(10)
        for operation_id in (hung, waiting):
            assert (await app.settle(operation_id))["state"] == "completed"


@pytest.mark.parametrize("ingestion", [{"reader_processes": 1}, {"concurrent_documents": 1}])
async def test_who_stands_in_line_behind_a_long_document_is_left_alone(
    tmp_path: Path, watches: list[WatchWithManualTime], ingestion: dict[str, Any]
) -> None:
    reader = StepwiseReader()
    engine = reader.engine(threads=1)
    async with open_app(tmp_path, ocr_engine=engine, ocr={"threads": 1}, ingestion=ingestion) as app:
        long = (await app.upload(("long.pdf", _scan(tmp_path, 8))))["operation_id"]
        await begin(reader, 1)
        waiting = (await app.upload(("a.txt", b"The gull cries."), ("b.txt", b"The seal sleeps.")))["operation_id"]
        await app.next_event(waiting, "started")
        for page in range(1, 4):
            watches[0].now += 1000.0
            reader.allow(1)
            await begin(reader, page + 1)
            await until(lambda: watches[0].silent_seconds() == 0)
        assert not watches[0].is_stalled(waiting), "it has stood in line for longer than the limit"
        assert await age(app) == 0
        reader.allow(10)
        for operation_id in (long, waiting):
            assert (await app.settle(operation_id))["state"] == "completed"
            assert "retrying" not in {event["type"] for event in await app.events(operation_id)}


def _scan(folder: Path, pages: int) -> bytes:
    return make.scanned_pdf(folder / "scan.pdf", [f"Page {page} of {pages}" for page in range(pages)]).read_bytes()
