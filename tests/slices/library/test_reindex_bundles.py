"""Small documents go into a further index together, long ones page by page; none gets another's chunks."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlmodel import col, select

from perplex_mono.ingestion.bundles import BUNDLE_PAGES
from perplex_mono.library.models import Chunk
from tests import documents as make
from tests.app_client import App, open_app

SMALL = {"strategy": "fixed", "max_tokens": 16, "overlap_tokens": 0}
BIRDS = ("puffin", "gannet", "heron", "osprey", "plover", "curlew", "dunlin", "avocet", "bittern", "wigeon")


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[App]:
    async with open_app(tmp_path) as opened:
        yield opened
        opened.embedder.turnstile.open()


def _notes() -> list[tuple[str, bytes]]:
    return [(f"{bird}.txt", f"The {bird} was seen near the harbour. ".encode() * 9) for bird in BIRDS]


async def _text(app: App, document_id: str, index_id: str) -> str:
    query = select(Chunk.text).where(Chunk.document_id == document_id, Chunk.index_id == index_id)
    async with app.container.operations._database.read() as session:
        return " ".join((await session.exec(query.order_by(col(Chunk.ordinal)))).all())


async def _reindex(app: App) -> str:
    """Index the collection anew; the index."""
    accepted = await app.reindex(chunking=SMALL)
    assert (await app.settle(accepted["operation_id"]))["state"] == "completed"
    return str(accepted["index_id"])


async def test_small_documents_share_calls_of_the_model_and_keep_their_own_chunks(app: App) -> None:
    documents = await app.ingest(*_notes())
    app.embedder.calls.clear()
    index_id = await _reindex(app)
    assert len(app.embedder.calls) == 1
    for document, bird in zip(documents, BIRDS, strict=True):
        mine = await _text(app, document["id"], index_id)
        assert mine.count(bird) == 9
        assert not [other for other in BIRDS if other != bird and other in mine]


async def test_a_long_document_is_whole_beside_small_ones(app: App, tmp_path: Path) -> None:
    pages = [f"Page {number} tells of whale {number} and of nothing else." for number in range(2 * BUNDLE_PAGES + 3)]
    long = make.text_pdf(tmp_path / "long.pdf", pages).read_bytes()
    *_, whales = await app.ingest(*_notes()[:2], ("long.pdf", long))
    text = await _text(app, whales["id"], await _reindex(app))
    (active,) = [index for index in await app.indexes() if index["state"] == "active"]
    assert active["document_count"] == 3
    assert [number for number in range(len(pages)) if f"whale {number} " not in f"{text} "] == []


async def test_what_is_deleted_while_its_bundle_is_embedded_stays_away_and_the_others_arrive(app: App) -> None:
    documents = await app.ingest(*_notes())
    app.embedder.turnstile.close()
    accepted = await app.reindex(chunking=SMALL)
    await app.embedder.turnstile.reached.wait()
    deleted = (await app.client.delete(f"/api/v1/documents/{documents[0]['id']}")).json()
    app.embedder.turnstile.open()
    async with asyncio.timeout(30):
        await app.settle(deleted["operation_id"])
        assert (await app.settle(accepted["operation_id"]))["state"] == "completed"
    (active,) = [index for index in await app.indexes() if index["state"] == "active"]
    assert (active["id"], active["document_count"]) == (accepted["index_id"], len(BIRDS) - 1)
    assert documents[0]["name"] not in await app.names_found(BIRDS[0])
