"""What an edit of one page costs, by the counters of `/metrics`."""

from pathlib import Path

from tests import documents as make
from tests.slices.sources.following import following

PAGES = 500
SCANNED_PAGES = 12
EDITED = 250


def page(number: int, word: str = "walrus") -> str:
    sentence = f"On day {number} the {word} number {number * 7} was seen {number % 9} times from the harbour wall. "
    return f"Log of day {number}\n\n" + sentence * 14


async def test_editing_one_page_of_500_embeds_two_percent_of_its_chunks_at_most(tmp_path: Path) -> None:
    async with following(tmp_path) as papers:
        pages = [page(number) for number in range(PAGES)]
        make.text_pdf(papers.folder / "log.pdf", pages)
        await papers.add()
        await papers.scan()
        before = (await papers.documents())["log.pdf"]
        assert (before["status"], before["page_count"]) == ("ready", PAGES)
        embedded = await papers.metric("embedded_texts_total")
        assert embedded == before["chunk_count"] >= PAGES
        pages[EDITED] = page(EDITED, "narwhal")
        make.text_pdf(papers.folder / "log.pdf", pages)
        assert (await papers.scan())["changed"] == 1
        after = (await papers.documents())["log.pdf"]
        assert (after["status"], after["page_count"]) == ("ready", PAGES)
        assert 1 <= await papers.metric("embedded_texts_total") - embedded <= 0.02 * before["chunk_count"]
        hits = (await papers.app.search("narwhal", mode="sparse", limit=100))["hits"]
        assert {number for hit in hits for number in hit["pages"]} == {EDITED + 1}
        assert len((await papers.app.vector_ids())[after["id"]]) == after["chunk_count"]


async def test_editing_one_page_of_a_scan_recognises_that_page_only(tmp_path: Path) -> None:
    async with following(tmp_path) as papers:
        texts = [f"Scanned page {number}" for number in range(SCANNED_PAGES)]
        make.scanned_pdf(papers.folder / "scan.pdf", texts)
        await papers.add()
        await papers.scan()
        assert await papers.metric("ocr_pages_total") == SCANNED_PAGES
        texts[5] = "Another picture altogether"
        make.scanned_pdf(papers.folder / "scan.pdf", texts)
        assert (await papers.scan())["changed"] == 1
        document = (await papers.documents())["scan.pdf"]
        assert (document["status"], document["page_count"]) == ("ready", SCANNED_PAGES)
        assert await papers.metric("ocr_pages_total") == SCANNED_PAGES + 1
