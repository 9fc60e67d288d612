"""Reads stretches of stored pages, all that one search needs at once."""

import asyncio
from collections.abc import Collection, Mapping

from loguru import logger

from perplex_mono.errors import DataCorrupt
from perplex_mono.ingestion.boxes import boxes_for
from perplex_mono.ingestion.page_store import PageStore, decode_page
from perplex_mono.ingestion.pages import Page
from perplex_mono.library.passages import PageSpan, Passage


class StoredPassages:
    """A `PassageReader` over the stored pages."""

    def __init__(self, pages: PageStore) -> None:
        self._pages = pages

    async def read(self, spans: Collection[PageSpan]) -> Mapping[PageSpan, Passage]:
        """The passages, by one query; a page is unpacked once, on a thread; damaged ones are left out."""
        if not spans:
            return {}
        payloads = await self._pages.payloads({(span.sha256, span.page) for span in spans})
        return await asyncio.to_thread(_cut_out, spans, payloads)


def _cut_out(spans: Collection[PageSpan], payloads: Mapping[tuple[str, int], bytes]) -> dict[PageSpan, Passage]:
    pages: dict[tuple[str, int], Page] = {}
    for key, payload in payloads.items():
        try:
            pages[key] = decode_page(payload)
        except DataCorrupt:  # a search goes on without it; the doctor says more
            logger.warning("passage.page_damaged", sha256=key[0], page=key[1])
    passages: dict[PageSpan, Passage] = {}
    for span in spans:
        page = pages.get((span.sha256, span.page))
        if page is not None:
            passages[span] = Passage(page.text[span.start : span.end], boxes_for(page, span.start, span.end))
    return passages
