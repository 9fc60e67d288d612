"""Cuts where the author did: at headings, paragraphs, sentences, list items, table rows and code lines."""

from collections.abc import Iterator, Sequence
from itertools import pairwise

from perplex_mono.ingestion.chunks import Chunk, Outline, make_chunk
from perplex_mono.ingestion.packing import pack, size, strength
from perplex_mono.ingestion.pages import Page
from perplex_mono.ingestion.splitters.headings import PageHeadings
from perplex_mono.ingestion.units import Break, TokenCounter, Unit, page_units, token_starts

# Sections shorter than this share a chunk with a neighbour: a few words alone embed badly.
_SHORT_SECTION_TOKENS = 50


class StructureSplitter:
    """Packs units up to the strongest border near the end of the room; short neighbouring sections share a chunk."""

    def __init__(self, max_tokens: int, overlap_tokens: int, max_context_tokens: int, tokens: TokenCounter) -> None:
        self._max_tokens = max_tokens
        self._overlap_tokens = overlap_tokens
        self._max_context_tokens = max_context_tokens
        self._tokens = tokens
        self._piece_tokens = max(max_tokens // 16, min(overlap_tokens, max_tokens // 4))

    def split_page(self, page: Page, outline: Outline) -> tuple[list[Chunk], Outline]:
        """Keep the promise of `Splitter`; the heading path and a table's header row are context."""
        starts = token_starts(page.text, self._tokens)
        units = list(page_units(page, starts, self._piece_tokens, self._max_tokens // 2))
        headings = PageHeadings(page, outline)
        chunks = [
            self._chunk(page, units[section_first + first : section_first + last], headings)
            for section_first, section_last in sections(units, self._max_tokens)
            for first, last in pack(units[section_first:section_last], self._max_tokens, self._overlap_tokens)
        ]
        return chunks, headings.last

    def _chunk(self, page: Page, units: Sequence[Unit], headings: PageHeadings) -> Chunk:
        start, end = units[0].start, units[-1].end
        above = headings.context(start, self._tokens, self._max_context_tokens)
        return make_chunk(
            page,
            start,
            end,
            size(units, 0, len(units)),
            heading_path=headings.path(start, end),
            context=[above, header_text(page, units[0])],
        )


def header_text(page: Page, unit: Unit) -> str:
    """The header row of the table that the unit is a later row of; nothing for other units."""
    return page.text[unit.header.start : unit.header.end] if unit.header is not None else ""


def sections(units: Sequence[Unit], max_tokens: int) -> Iterator[tuple[int, int]]:
    """Give ranges of units to pack: a section each, or short neighbouring sections that together fit one chunk."""
    borders = [at for at in range(1, len(units)) if strength(units, at) == Break.SECTION]
    start = 0
    for border, following in pairwise([*borders, len(units)]):
        short = min(size(units, start, border), size(units, border, following)) < _SHORT_SECTION_TOKENS
        if not short or size(units, start, following) > max_tokens:
            yield start, border
            start = border
    if units:
        yield start, len(units)
