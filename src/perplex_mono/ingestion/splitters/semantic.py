"""Cuts where the subject changes, as the embedding model sees it: between sentences that are unlike their neighbours.

Every sentence is embedded once. At each border, the mean vector of the few sentences before is compared with that of
the few after (the windows of TextTiling, Hearst 1997, on vectors). A border is worth a cut as far as its similarity
lies below what is usual on the page: below the median less a median absolute deviation, so that neither a monotonous
nor a lively page, nor a few outliers, change how much is cut. Among all ways to cut the page within the sizes, the one
with the greatest worth is taken; where size alone forces a cut, it falls at the least alike neighbours within reach.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from perplex_mono.ingestion.chunks import Chunk, Outline, make_chunk
from perplex_mono.ingestion.packing import size
from perplex_mono.ingestion.pages import Page
from perplex_mono.ingestion.splitters.headings import PageHeadings
from perplex_mono.ingestion.units import TokenCounter, Unit, page_units, token_starts

Embed = Callable[[Sequence[str]], NDArray[np.float32]]
"""Texts to unit vectors, one row each; blocks until they are there."""

# Sentences with fewer tokens are compared together with the next: a few words alone have no subject.
_MIN_COMPARED_TOKENS = 8
_WINDOW_SENTENCES = 3
_DEVIATIONS = 1.0
# A chunk should reach this share of the size; one below costs as much worth as it lacks of it.
_MIN_SHARE = 0.25
_TEXTS_A_CALL = 256
# The same text is embedded a little differently in other company; what differs less than this counts as equal.
_SIMILARITY_DECIMALS = 3


class _Piece(NamedTuple):
    """Units `[first, last)` of the page that are compared as one sentence, and never separated."""

    first: int
    last: int


class SemanticSplitter:
    """Chunks hold a quarter of the size to the size less the overlap, which goes in front of them."""

    def __init__(
        self, max_tokens: int, overlap_tokens: int, max_context_tokens: int, tokens: TokenCounter, embed: Embed
    ) -> None:
        self._max_tokens = max_tokens
        self._overlap_tokens = overlap_tokens
        self._body_tokens = max_tokens - overlap_tokens
        self._max_context_tokens = max_context_tokens
        self._tokens = tokens
        self._embed = embed

    def split_page(self, page: Page, outline: Outline) -> tuple[list[Chunk], Outline]:
        """Keep the promise of `Splitter`; the heading path is context, and neighbours share whole sentences only.

        Raises what `embed` raises.
        """
        starts = token_starts(page.text, self._tokens)
        units = list(page_units(page, starts, self._body_tokens // 2, self._body_tokens))
        headings = PageHeadings(page, outline)
        chunks: list[Chunk] = []
        for first, last in self._with_overlap(units, self._bodies(page.text, units)):
            start, end = units[first].start, units[last - 1].end
            context = headings.context(start, self._tokens, self._max_context_tokens)
            count, path = size(units, first, last), headings.path(start, end)
            chunks.append(make_chunk(page, start, end, count, heading_path=path, context=[context]))
        return chunks, headings.last

    def _bodies(self, text: str, units: Sequence[Unit]) -> list[tuple[int, int]]:
        """Ranges of units that cover all of them, each about one subject."""
        if not units or size(units, 0, len(units)) <= self._body_tokens * _MIN_SHARE:
            return [(0, len(units))] if units else []
        pieces = list(_pieces(units, self._body_tokens))
        texts = [text[units[piece.first].start : units[piece.last - 1].end] for piece in pieces]
        begins = [units[piece.first].first_token for piece in pieces]
        ends = [units[piece.last - 1].last_token for piece in pieces]
        cuts = _best_cuts(_worths(self._vectors(texts)), begins, ends, self._body_tokens)
        return [(pieces[first].first, pieces[last - 1].last) for first, last in cuts]

    def _vectors(self, texts: Sequence[str]) -> NDArray[np.float32]:
        parts = [self._embed(texts[at : at + _TEXTS_A_CALL]) for at in range(0, len(texts), _TEXTS_A_CALL)]
        return np.concatenate(parts)

    def _with_overlap(self, units: Sequence[Unit], bodies: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int]]:
        """Let each range begin with the last units of the one before it, as far as the overlap allows."""
        previous_first = 0
        for body_first, last in bodies:
            first = body_first
            while (
                first - 1 > previous_first
                and units[first - 1].block.kind not in ("heading", "table")
                and size(units, first - 1, body_first) <= self._overlap_tokens
                and size(units, first - 1, last) <= self._max_tokens
            ):
                first -= 1
            yield first, last
            previous_first = body_first


def _pieces(units: Sequence[Unit], max_tokens: int) -> Iterator[_Piece]:
    """Join units that are too short to be compared, and headings, with what follows them."""
    first = 0
    for at in range(1, len(units)):
        is_open = units[at - 1].block.kind == "heading" or size(units, first, at) < _MIN_COMPARED_TOKENS
        if not is_open or size(units, first, at + 1) > max_tokens:
            yield _Piece(first, at)
            first = at
    yield _Piece(first, len(units))


def _worths(vectors: NDArray[np.float32]) -> NDArray[np.float64]:
    """Give for the border in front of each sentence but the first its worth as a cut; shape `(sentences - 1,)`."""
    count = len(vectors)
    if count < 2:
        return np.zeros(0)
    sums = np.concatenate([np.zeros((1, vectors.shape[1])), np.cumsum(vectors, axis=0, dtype=np.float64)])
    borders = np.arange(1, count)
    before = sums[borders] - sums[np.maximum(borders - _WINDOW_SENTENCES, 0)]
    after = sums[np.minimum(borders + _WINDOW_SENTENCES, count)] - sums[borders]
    lengths = np.linalg.norm(before, axis=1) * np.linalg.norm(after, axis=1)
    similarities = np.round((before * after).sum(axis=1) / np.maximum(lengths, 1e-9), _SIMILARITY_DECIMALS)
    usual = float(np.median(similarities))
    deviation = float(np.median(np.abs(similarities - usual)))
    worths: NDArray[np.float64] = usual - _DEVIATIONS * deviation - similarities
    return worths


def _best_cuts(
    worths: NDArray[np.float64], begins: Sequence[int], ends: Sequence[int], max_tokens: int
) -> list[tuple[int, int]]:
    """Give the ranges of sentences, none over `max_tokens`, whose borders are worth most; of equals the fewest ranges.

    Sentence `i` holds the page's tokens `[begins[i], ends[i])`. By dynamic programming over where a range may end.
    """
    count = len(ends)
    best: list[tuple[float, int, int]] = [(0.0, 0, 0)]  # worth up to here, ranges (negative), where the last one began
    for last in range(1, count + 1):
        options: list[tuple[float, int, int]] = []
        for first in range(last - 1, -1, -1):
            length = ends[last - 1] - begins[first]
            if length > max_tokens and first < last - 1:
                break
            worth = best[first][0] + (float(worths[first - 1]) if first else 0.0)
            worth -= max(0.0, 1.0 - length / (max_tokens * _MIN_SHARE))
            options.append((round(worth, 6), best[first][1] - 1, first))
        best.append(max(options))
    ranges: list[tuple[int, int]] = []
    last = count
    while last:
        ranges.append((best[last][2], last))
        last = best[last][2]
    return ranges[::-1]
