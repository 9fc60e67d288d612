"""Cuts twice: small chunks to be found, each within a larger one that is shown in its place."""

from collections.abc import Iterator, Sequence

from perplex_mono.ingestion.chunks import Chunk, Outline, make_chunk
from perplex_mono.ingestion.packing import pack, size
from perplex_mono.ingestion.pages import Page
from perplex_mono.ingestion.splitters.headings import PageHeadings
from perplex_mono.ingestion.splitters.structure import header_text, sections
from perplex_mono.ingestion.units import TokenCounter, Unit, page_units, token_starts

CHILDREN_A_PARENT = 4
_MIN_CHILD_TOKENS = 16


def child_tokens(max_tokens: int) -> int:
    """How many tokens a child may have: a quarter of its parent's, so that one says one thing; at least 16."""
    return max(max_tokens // CHILDREN_A_PARENT, _MIN_CHILD_TOKENS)


class HierarchicalSplitter:
    """Parents are cut as by structure, without overlap; children of one parent overlap by a quarter of the setting."""

    def __init__(self, max_tokens: int, overlap_tokens: int, max_context_tokens: int, tokens: TokenCounter) -> None:
        self._max_tokens = max_tokens
        self._child_tokens = child_tokens(max_tokens)
        self._overlap_tokens = overlap_tokens // CHILDREN_A_PARENT
        self._max_context_tokens = min(max_context_tokens, self._child_tokens)
        self._tokens = tokens

    def split_page(self, page: Page, outline: Outline) -> tuple[list[Chunk], Outline]:
        """Keep the promise of `Splitter` with the children; each names its parent's place and heading path."""
        starts = token_starts(page.text, self._tokens)
        units = list(page_units(page, starts, self._child_tokens // 4, self._child_tokens // 2))
        headings = PageHeadings(page, outline)
        chunks = [chunk for parent in self._parents(units) for chunk in self._children(page, parent, headings)]
        return chunks, headings.last

    def _parents(self, units: Sequence[Unit]) -> Iterator[Sequence[Unit]]:
        for section_first, section_last in sections(units, self._max_tokens):
            section = units[section_first:section_last]
            for first, last in pack(section, self._max_tokens, 0):
                yield section[first:last]

    def _children(self, page: Page, parent: Sequence[Unit], headings: PageHeadings) -> Iterator[Chunk]:
        place = parent[0].start, parent[-1].end
        path = headings.path(*place)
        for first, last in pack(parent, self._child_tokens, self._overlap_tokens):
            start, end = parent[first].start, parent[last - 1].end
            above = headings.context(start, self._tokens, self._max_context_tokens)
            context = [above, header_text(page, parent[first])]
            count = size(parent, first, last)
            yield make_chunk(page, start, end, count, heading_path=path, context=context, parent=place)
