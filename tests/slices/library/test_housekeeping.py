"""Deleted text leaves the files within a day, and not by writing all of them anew after every deletion."""

import os
import time
from pathlib import Path

from perplex_mono.library.housekeeping import MIN_DELETED_SECONDS
from tests.app_client import App, open_app


def data_files(app: App) -> set[str]:
    return {path.name for path in (app.data / "vectors").rglob("data/*.lance")}


async def test_a_table_is_written_anew_when_deletions_are_half_a_day_old(tmp_path: Path) -> None:
    async with open_app(tmp_path) as app:
        texts = [(f"{number}.txt", b"The curlew number %d waded here. " % number * 30) for number in range(12)]
        documents = await app.ingest(*texts)
        vectors = await app.container.vectors.wait()
        (table,) = vectors.table_names()
        await vectors.maintain(table)
        deletion = await app.client.delete(f"/api/v1/documents/{documents[0]['id']}")
        await app.settle(deletion.json()["operation_id"])
        before = data_files(app)
        await app.container.housekeeper.round()
        assert data_files(app) == before, "a deletion of a moment ago is no reason to write the table anew"
        long_ago = time.time() - MIN_DELETED_SECONDS - 60
        for mark in (app.data / "vectors").rglob("_deletions/*"):
            os.utime(mark, (long_ago, long_ago))
        await app.container.housekeeper.round()
        assert data_files(app) - before, "every living row stands in a new file"
        assert len(await app.vector_ids()) == 11


async def test_the_database_becomes_smaller_when_documents_are_gone(tmp_path: Path) -> None:
    def file_bytes() -> int:
        return sum(path.stat().st_size for path in app.data.glob("perplex.db*"))

    async with open_app(tmp_path) as app:
        texts = [(f"{number}.txt", b"The curlew number %d waded here. " % number * 2000) for number in range(8)]
        documents = await app.ingest(*texts, ("kept.txt", b"The whimbrel stays."))
        await app.container.housekeeper.round()
        full = file_bytes()
        for document in documents[:-1]:
            deletion = await app.client.delete(f"/api/v1/documents/{document['id']}")
            await app.settle(deletion.json()["operation_id"])
        await app.container.housekeeper.round()
        assert file_bytes() < full / 2
        assert await app.names_found("whimbrel", mode="sparse") == ["kept.txt"]
        await app.ingest(("new.txt", b"The dunlin came."))
        assert await app.names_found("dunlin", mode="sparse") == ["new.txt"]
