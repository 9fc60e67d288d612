"""Cuts plain windows of tokens: the least a splitter can do, and what others are compared with."""

import re
from bisect import bisect_left
from collections.abc import Iterator

from perplex_mono.ingestion.chunks import Chunk, Outline, make_chunk
from perplex_mono.ingestion.pages import Page
from perplex_mono.ingestion.units import TokenCounter, cut_between_words, is_word_border, token_starts

_VISIBLE = re.compile(r"\S")


class FixedSplitter:
    """Windows cut between words, without regard to structure and without headings as context."""

    def __init__(self, max_tokens: int, overlap_tokens: int, tokens: TokenCounter) -> None:
        self._max_tokens = max_tokens
        self._overlap_tokens = overlap_tokens
        self._tokens = tokens

    def split_page(self, page: Page, outline: Outline) -> tuple[list[Chunk], Outline]:
        """Keep the promise of `Splitter`; headings are not looked at, so the outline stays as it is."""
        starts = token_starts(page.text, self._tokens)
        spans = windows(page.text, 0, len(page.text), starts, self._max_tokens, self._overlap_tokens)
        chunks = [
            make_chunk(page, start, end, bisect_left(starts, end) - bisect_left(starts, start)) for start, end in spans
        ]
        return chunks, outline


def windows(
    text: str, start: int, stop: int, starts: list[int], max_tokens: int, overlap_tokens: int
) -> Iterator[tuple[int, int]]:
    """Give spans of at most `max_tokens` that cover `text[start:stop]` but white space, cut between words if possible.

    Each begins at the first word border within the last `overlap_tokens` of the one before it.
    """
    covered = start
    while visible := _VISIBLE.search(text, start, stop):
        start = visible.start()
        first, end = bisect_left(starts, start), stop
        if first + max_tokens < bisect_left(starts, stop):
            end = min(stop, cut_between_words(text, start, starts, max_tokens, max_tokens))
        shown_end = start + len(text[start:end].rstrip())
        if shown_end <= covered:
            start = covered
            continue
        yield start, shown_end
        covered = shown_end
        start = end if end == stop else _next_start(text, starts, first, end, overlap_tokens)


def _next_start(text: str, starts: list[int], first: int, end: int, overlap_tokens: int) -> int:
    """Give the first word border within the overlap before `end`."""
    last = bisect_left(starts, end)
    for at in range(max(last - overlap_tokens, first + 1), last):
        if is_word_border(text, starts[at]):
            return starts[at]
    return end
