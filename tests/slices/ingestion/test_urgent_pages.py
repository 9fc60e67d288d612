"""A single upload does not wait behind a scan of a folder: not for a reader, and not for OCR."""

import asyncio
from collections.abc import Callable
from pathlib import Path

from tests import documents as make
from tests.app_client import open_app
from tests.stepwise_reader import StepwiseReader

MAX_QUEUED_PAGES = 2


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110  # what is awaited sets no event
            await asyncio.sleep(0.01)


async def test_the_page_of_a_single_upload_is_the_next_one_that_ocr_reads(tmp_path: Path) -> None:
    reader = StepwiseReader()
    engine = reader.engine(threads=1, max_queued_pages=MAX_QUEUED_PAGES)
    many = [(f"{n}.pdf", _scan(tmp_path, [f"Scan {n}, page {page}" for page in range(4)])) for n in range(3)]
    async with open_app(tmp_path, ocr_engine=engine, ocr={"threads": 1}) as app:
        operation_id = (await app.upload(*many))["operation_id"]
        await until(lambda: engine.status().queued == MAX_QUEUED_PAGES)
        await until(lambda: len(reader.begun) == 1)
        single = await app.upload(("single.pdf", _scan(tmp_path, ["The single one"])))
        await until(lambda: engine.status().queued == MAX_QUEUED_PAGES + 1)
        reader.allow(2)
        assert (await app.settle(single["operation_id"]))["state"] == "completed"
        assert len(reader.begun) <= 3, "one page before it, and perhaps the next one of the others"
        reader.allow(20)
        assert (await app.settle(operation_id))["failed_count"] == 0


def _scan(folder: Path, texts: list[str]) -> bytes:
    return make.scanned_pdf(folder / "scan.pdf", texts).read_bytes()
