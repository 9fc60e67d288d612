"""Cuts between sentences and nowhere else: as many whole ones as fit, wherever paragraphs and sections end."""

from collections.abc import Iterator, Sequence

from perplex_mono.ingestion.chunks import Chunk, Outline, make_chunk
from perplex_mono.ingestion.packing import furthest, overlap_start, size
from perplex_mono.ingestion.pages import Page
from perplex_mono.ingestion.splitters.headings import PageHeadings
from perplex_mono.ingestion.units import TokenCounter, Unit, page_units, token_starts


class SentenceSplitter:
    """Headings, table rows and code lines count as sentences; one that is too long alone is cut between words."""

    def __init__(self, max_tokens: int, overlap_tokens: int, max_context_tokens: int, tokens: TokenCounter) -> None:
        self._max_tokens = max_tokens
        self._overlap_tokens = overlap_tokens
        self._max_context_tokens = max_context_tokens
        self._tokens = tokens

    def split_page(self, page: Page, outline: Outline) -> tuple[list[Chunk], Outline]:
        """Keep the promise of `Splitter`; the heading path is context, and neighbours share whole sentences only."""
        starts = token_starts(page.text, self._tokens)
        sentences = list(page_units(page, starts, self._max_tokens // 2, self._max_tokens))
        headings = PageHeadings(page, outline)
        chunks: list[Chunk] = []
        for first, last in self._fill(sentences):
            start, end = sentences[first].start, sentences[last - 1].end
            above = headings.context(start, self._tokens, self._max_context_tokens)
            count = size(sentences, first, last)
            chunks.append(make_chunk(page, start, end, count, heading_path=headings.path(start, end), context=[above]))
        return chunks, headings.last

    def _fill(self, sentences: Sequence[Unit]) -> Iterator[tuple[int, int]]:
        first = last = 0
        while last < len(sentences):
            last = furthest(sentences, first, self._max_tokens)
            yield first, last
            if last < len(sentences):
                first = overlap_start(sentences, first, last, self._max_tokens, self._overlap_tokens)
