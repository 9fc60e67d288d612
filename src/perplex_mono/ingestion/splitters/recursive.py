"""Cuts at the coarsest separator that fits: paragraphs, and only what is too long at lines, sentences, then words."""

import re
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

from perplex_mono.ingestion.chunks import Chunk, Outline, make_chunk
from perplex_mono.ingestion.pages import Page
from perplex_mono.ingestion.sentences import split_sentences, trim
from perplex_mono.ingestion.splitters.fixed import windows
from perplex_mono.ingestion.splitters.headings import PageHeadings
from perplex_mono.ingestion.units import TokenCounter, token_starts

Span = tuple[int, int]

_EMPTY_LINE = re.compile(r"\n[^\S\n]*\n\s*")
_LINE_END = re.compile(r"\n")


class RecursiveSplitter:
    """Looks at separators in the text alone, not at blocks; neighbours of one level are joined as far as they fit."""

    def __init__(self, max_tokens: int, overlap_tokens: int, max_context_tokens: int, tokens: TokenCounter) -> None:
        self._max_tokens = max_tokens
        self._overlap_tokens = overlap_tokens
        self._max_context_tokens = max_context_tokens
        self._tokens = tokens

    def split_page(self, page: Page, outline: Outline) -> tuple[list[Chunk], Outline]:
        """Keep the promise of `Splitter`; the heading path is context. Neighbours overlap by whole pieces only."""
        starts = token_starts(page.text, self._tokens)
        headings = PageHeadings(page, outline)
        chunks = [
            make_chunk(
                page,
                start,
                end,
                _token_count(starts, (start, end)),
                heading_path=headings.path(start, end),
                context=[headings.context(start, self._tokens, self._max_context_tokens)],
            )
            for start, end in self._split(page.text, trim(page.text, 0, len(page.text)), starts, 0)
        ]
        return chunks, headings.last

    def _split(self, text: str, span: Span, starts: list[int], level: int) -> Iterator[Span]:
        """Give spans that fit; what is too long is taken apart at this level, and its too long pieces at the next."""
        if _token_count(starts, span) <= self._max_tokens:
            if span[0] < span[1]:
                yield span
            return
        if level == len(_LEVELS):
            yield from windows(text, *span, starts, self._max_tokens, self._overlap_tokens)
            return
        fitting: list[Span] = []
        for piece in _LEVELS[level](text, span):
            if _token_count(starts, piece) <= self._max_tokens:
                fitting.append(piece)
                continue
            yield from self._join(fitting, starts)
            fitting = []
            yield from self._split(text, piece, starts, level + 1)
        yield from self._join(fitting, starts)

    def _join(self, pieces: Sequence[Span], starts: list[int]) -> Iterator[Span]:
        """Join neighbours up to the size; each joined span begins with the last pieces of the one before it."""
        first = 0
        for at in range(1, len(pieces)):
            if _token_count(starts, (pieces[first][0], pieces[at][1])) > self._max_tokens:
                end = pieces[at - 1][1]
                yield pieces[first][0], end
                first += 1
                while first < at and not self._may_begin(starts, pieces[first][0], end, pieces[at][1]):
                    first += 1
        if pieces:
            yield pieces[first][0], pieces[-1][1]

    def _may_begin(self, starts: list[int], start: int, end: int, next_end: int) -> bool:
        """Whether the overlap `[start, end)` is short enough and leaves room for the piece that ends at `next_end`."""
        has_room = _token_count(starts, (start, next_end)) <= self._max_tokens
        return has_room and _token_count(starts, (start, end)) <= self._overlap_tokens


def _token_count(starts: list[int], span: Span) -> int:
    return bisect_left(starts, span[1]) - bisect_left(starts, span[0])


def _at(separator: re.Pattern[str]) -> Callable[[str, Span], list[Span]]:
    """Cut at what the pattern matches."""

    def cut(text: str, span: Span) -> list[Span]:
        borders = [span[0], *(match.end() for match in separator.finditer(text, *span)), span[1]]
        spans = [trim(text, start, end) for start, end in pairwise(borders)]
        return [(start, end) for start, end in spans if start < end]

    return cut


def _sentences(text: str, span: Span) -> list[Span]:
    return [(span[0] + start, span[0] + end) for start, end in split_sentences(text[span[0] : span[1]])]


_LEVELS: tuple[Callable[[str, Span], list[Span]], ...] = (_at(_EMPTY_LINE), _at(_LINE_END), _sentences)
