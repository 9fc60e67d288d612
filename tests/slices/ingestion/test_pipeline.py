"""From uploaded bytes to searchable chunks, through real reader children, SQLite and LanceDB."""

import random
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from perplex_mono.ingestion.reader_pool import ReaderPool
from perplex_mono.ingestion.readers.contract import ReaderItem, ReadRequest
from perplex_mono.storage.identity import new_id
from tests import documents as make
from tests.app_client import SCANNED_TEXT, App, open_app
from tests.unit.ingestion.reader_files import word_file

pytestmark = pytest.mark.asyncio(loop_scope="module")
MARKDOWN = "# Tides\n\n" + "The tide turned at noon. " * 30 + "\n\n## Ebb\n\n" + "Mudlarks walked to the wreck. " * 30


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def app(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[App]:
    async with open_app(tmp_path_factory.mktemp("pipeline"), limits={"max_pages": 30}) as opened:
        yield opened


async def chunk_ids(app: App, document_id: str) -> list[str]:
    return sorted((await app.vector_ids()).get(document_id, []))


def words(topic: str, count: int = 3) -> str:
    return "\n\n".join(f"Paragraph {number} says that the {topic} was seen again." for number in range(count))


async def test_text_markdown_pdf_and_word_become_ready(app: App, tmp_path: Path) -> None:
    pdf = make.text_pdf(tmp_path / "a.pdf", [words("narwhal"), words("walrus"), words("seal")])
    documents = await app.ingest(
        ("a.txt", words("cormorant").encode()),
        ("b.md", MARKDOWN.encode()),
        ("c.pdf", pdf.read_bytes()),
        ("d.docx", word_file(tmp_path / "d.docx").read_bytes()),
    )
    assert [(document["status"], document["page_count"]) for document in documents] == [
        ("ready", 1),
        ("ready", 1),
        ("ready", 3),
        ("ready", 1),
    ]
    assert all(document["chunk_count"] > 0 and document["failure"] is None for document in documents)
    assert await app.names_found("cormorant", mode="sparse") == ["a.txt"]
    hits = (await app.search("walrus", mode="sparse"))["hits"]
    assert [(hit["document"]["name"], hit["pages"]) for hit in hits] == [("c.pdf", [2])]
    assert (await app.search("mudlarks wreck", mode="sparse"))["hits"][0]["heading_path"] == ["Tides", "Ebb"]


async def test_every_chunk_is_stored_once_in_both_stores(app: App) -> None:
    (document,) = await app.ingest(
        ("long.md", "\n\n".join(f"# Part {n}\n\n{words('heron', 9)}" for n in range(9)).encode())
    )
    ids = await chunk_ids(app, document["id"])
    assert document["chunk_count"] == len(ids) > 5
    hits = (await app.search("heron", mode="sparse", limit=500, filters={"document_ids": [document["id"]]}))["hits"]
    assert sorted(hit["chunk_id"] for hit in hits) == ids


async def test_doing_it_again_names_every_chunk_the_same(app: App) -> None:
    (document,) = await app.ingest(("again.md", ("# Again\n\n" + words("plover", 30)).encode()))
    before = await chunk_ids(app, document["id"])
    calls = len(app.embedder.calls)
    await redo(app, document["id"])
    assert await chunk_ids(app, document["id"]) == before
    assert len(app.embedder.calls) == calls, "every vector was known"


async def redo(app: App, document_id: str) -> dict[str, Any]:
    """Ingest a ready document again, as a crash before the last commit would."""
    documents = app.container.documents
    async with documents._database.write() as session:
        row = await session.get(type(await documents.get_row(document_id, "local")), document_id)
        assert row is not None
        row.status = "failed"
    answer = await app.client.post(f"/api/v1/documents/{document_id}/retry")
    assert answer.status_code == 202
    return await app.settle(answer.json()["operation_id"])


async def test_a_second_collection_embeds_nothing_again(app: App) -> None:
    content = words("kittiwake", 40).encode()
    await app.ingest(("first.txt", content))
    calls = len(app.embedder.calls)
    other = await app.new_collection(f"second {new_id()}")
    (document,) = await app.ingest(("second.txt", content), collection=other)
    assert document["status"] == "ready"
    assert len(app.embedder.calls) == calls
    assert await app.names_found("kittiwake", collection_ids=[other]) == ["second.txt"] * document["chunk_count"]


async def test_stored_pages_are_not_read_or_recognised_again(
    app: App, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A scan: its pages are checkpoints, so the second reading is told to skip them and OCR is not asked."""
    skipped: list[frozenset[int]] = []
    read = ReaderPool.read

    def watched(pool: ReaderPool, request: ReadRequest, *, is_urgent: bool) -> AsyncGenerator[ReaderItem, None]:
        skipped.append(request.skip_pages)
        return read(pool, request, is_urgent=is_urgent)

    monkeypatch.setattr(ReaderPool, "read", watched)
    scan = make.scanned_pdf(tmp_path / "scan.pdf", ["page one", "page two"])
    (document,) = await app.ingest(("scan.pdf", scan.read_bytes()))
    assert (document["status"], document["page_count"]) == ("ready", 2)
    seen = len(app.ocr.seen)
    await redo(app, document["id"])
    other = await app.new_collection(f"scans {new_id()}")
    (copy,) = await app.ingest(("copy.pdf", scan.read_bytes()), collection=other)
    assert (copy["status"], copy["page_count"]) == ("ready", 2)
    assert len(app.ocr.seen) == seen
    assert skipped == [frozenset(), {1, 2}, {1, 2}]


async def test_one_bad_file_never_stops_the_others(app: App, tmp_path: Path) -> None:
    locked = make.text_pdf(tmp_path / "locked.pdf", ["secret"], password="pw")
    accepted = await app.upload(
        ("good one.txt", words("curlew").encode()),
        ("locked.pdf", locked.read_bytes()),
        ("broken.pdf", b"%PDF-1.7\nthis is no pdf at all " + b"\0\x93" * 300),
        ("blank.txt", b" \n\t\n "),
        ("program", b"\x7fELF" + b"\0" * 300),
        ("good two.txt", words("dunlin").encode()),
    )
    operation = await app.settle(accepted["operation_id"])
    documents = [await app.document(item["id"]) for item in accepted["documents"]]
    assert operation["state"] == "completed"
    assert operation["failed_count"] == 4
    failures = [document["failure"] and document["failure"]["code"] for document in documents]
    assert failures == [None, "encrypted", "corrupt", "no_text", "unsupported", None]
    assert [document["status"] for document in documents] == ["ready", *["failed"] * 4, "ready"]
    assert all(document["failure"]["message"] for document in documents if document["failure"])
    assert "program" in documents[4]["failure"]["message"]
    assert not any(document["failure"]["retryable"] for document in documents if document["failure"])
    stored = await app.vector_ids()
    assert [document["id"] in stored for document in documents] == [True, False, False, False, False, True]


async def test_progress_adds_up_and_every_document_is_told_of(app: App, tmp_path: Path) -> None:
    pdf = make.text_pdf(tmp_path / "five.pdf", [words(f"osprey{number}") for number in range(5)])
    accepted = await app.upload(("five.pdf", pdf.read_bytes()), ("bad", b"\x7fELF" + b"\0" * 99), ("x.txt", b"An owl."))
    operation = await app.settle(accepted["operation_id"])
    assert (operation["done"], operation["total"], operation["unit"]) == (7, 7, "pages")
    events = await app.events(accepted["operation_id"])
    types = [event["type"] for event in events]
    assert types[:2] == ["queued", "started"]
    assert types[-1] == "completed"
    assert (types.count("document_started"), types.count("document_done"), types.count("document_failed")) == (3, 2, 1)
    pages = [event["data"] for event in events if event["type"] == "page_done"]
    assert sorted(n for page in pages for n in page["pages"] if page["name"] == "five.pdf") == [1, 2, 3, 4, 5]
    assert {(page["name"], page["of"]) for page in pages} == {("five.pdf", 5), ("x.txt", None)}
    progress = [event["data"] for event in events if event["type"] == "progress"]
    assert (progress[-1]["done"], progress[-1]["total"]) == (7, 7)
    numbers = [event["seq"] for event in events]
    assert numbers == sorted(set(numbers))


async def test_a_page_read_by_ocr_keeps_its_boxes_and_confidence(app: App, tmp_path: Path) -> None:
    scan = make.scanned_pdf(tmp_path / "boxes.pdf", ["another picture"])
    (document,) = await app.ingest(("boxes.pdf", scan.read_bytes()))
    page = (await app.client.get(f"/api/v1/documents/{document['id']}/pages/1")).json()
    assert page["source"] == "ocr"
    assert page["confidence"] == pytest.approx(0.9)
    assert [page["text"][word["start"] : word["end"]] for word in page["words"]] == " ".join(SCANNED_TEXT).split()
    assert [word["text"] for word in page["words"]] == " ".join(SCANNED_TEXT).split()
    filters = {"document_ids": [document["id"]]}
    (hit,) = (await app.search("walruses", mode="sparse", filters=filters))["hits"]
    first, second = hit["boxes"]
    assert first["page"] == second["page"] == 1
    assert 0 <= first["y0"] < first["y1"] <= second["y0"] < second["y1"] <= 1


async def test_too_many_pages_are_refused_whole(app: App, tmp_path: Path) -> None:
    (document,) = await app.ingest(("long.pdf", make.long_pdf(tmp_path / "long.pdf", 31).read_bytes()))
    assert document["failure"]["code"] == "too_many_pages"
    assert await chunk_ids(app, document["id"]) == []


async def test_lying_names_do_not_matter(app: App, tmp_path: Path) -> None:
    make.picture("A lighthouse").save(tmp_path / "image.png")
    image, noise = await app.ingest(
        ("report.pdf", (tmp_path / "image.png").read_bytes()), ("noise.pdf", random.Random(1).randbytes(5000))
    )
    assert (image["media_type"], image["status"]) == ("image/png", "ready")
    assert noise["failure"]["code"] == "unsupported"
    assert "Convert it to PDF" in noise["failure"]["message"]
