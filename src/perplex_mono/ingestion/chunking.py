"""Cuts pages into chunks: the pieces of text that are embedded, searched and cited.

A chunk never crosses a page, and cuts depend on the page alone, so an edit of one page changes only that page's chunks.
What does carry over is the path of open headings: chunks of later pages name it until a heading of its level or above
replaces it, and are embedded again if it changes, because the model then reads something else.
"""

import hashlib
import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Protocol, get_args

import msgspec

from perplex_mono.errors import ConfigurationError
from perplex_mono.ingestion.packing import pack, size, strength
from perplex_mono.ingestion.pages import Block, Page
from perplex_mono.ingestion.units import (
    Break,
    TokenCounter,
    Unit,
    cut_between_words,
    is_word_border,
    page_units,
    token_starts,
)
from perplex_mono.settings import ChunkStrategy

_HEADING_SEPARATOR = " > "
# Joints between context and text, and words cut in two, may cost the model a token each.
_SPARE_TOKENS = 4
_MIN_TOKENS = 16
_VISIBLE = re.compile(r"\S")
# Sections shorter than this share a chunk with a neighbour: a few words alone embed badly.
_SHORT_SECTION_TOKENS = 50


class Heading(msgspec.Struct, frozen=True):
    """A heading under which the text that follows stands; `level` is 1 for the outermost."""

    level: int
    text: str


Outline = tuple[Heading, ...]
"""The headings open at some place, outermost first, levels ascending."""


class Chunk(msgspec.Struct, frozen=True):
    """A piece of one page.

    `text` is the page's text `[start, end)` of `token_count` tokens (one cut inside a word may read as one or two
    more). `input_text` is exactly what the model reads: the headings that are not in the text itself, the header row of
    a table that began earlier, then the text; it serves full-text search as well. `input_hash` is its SHA-256 in hex.
    `heading_path` names the headings that all of the text stands under, outermost first.
    """

    page: int
    start: int
    end: int
    text: str
    heading_path: tuple[str, ...]
    token_count: int
    input_text: str
    input_hash: str


class Splitter(Protocol):
    """One way to cut a page."""

    def split_page(self, page: Page, outline: Outline) -> tuple[list[Chunk], Outline]:
        """Cut one page that begins under `outline`; give its chunks in order and the outline at its end.

        The chunks cover all text of the page but white space, and overlap only as far as the overlap setting says.
        """
        ...


def find_fault(strategy: str, max_tokens: int, overlap_tokens: int, tokens: TokenCounter) -> str | None:
    """Say in a sentence what is wrong with these values for this model and what would be right; None if nothing is."""
    strategies = get_args(ChunkStrategy)
    if strategy not in strategies:
        return f"chunking.strategy is '{strategy}'; it must be one of {', '.join(strategies)}."
    room = tokens.max_tokens - tokens.special_tokens - _SPARE_TOKENS
    if not _MIN_TOKENS <= max_tokens <= room:
        return f"chunking.max_tokens is {max_tokens}; this model needs a value from {_MIN_TOKENS} to {room}."
    if not 0 <= overlap_tokens <= max_tokens // 2:
        return (
            f"chunking.overlap_tokens is {overlap_tokens}; with chunking.max_tokens {max_tokens} "
            f"it must lie between 0 and {max_tokens // 2}."
        )
    return None


def make_splitter(strategy: str, max_tokens: int, overlap_tokens: int, tokens: TokenCounter) -> Splitter:
    """Build the splitter for `chunking.strategy`, `chunking.max_tokens` and `chunking.overlap_tokens`.

    Raises ConfigurationError where they contradict each other or the model.
    """
    fault = find_fault(strategy, max_tokens, overlap_tokens, tokens)
    if fault is not None:
        raise ConfigurationError(fault)
    if strategy == "fixed":
        return FixedSplitter(max_tokens, overlap_tokens, tokens)
    return StructureSplitter(max_tokens, overlap_tokens, tokens)


def split_pages(splitter: Splitter, pages: Iterable[Page]) -> Iterator[Chunk]:
    """Cut the pages of one document, in order, holding one page at a time."""
    outline: Outline = ()
    for page in pages:
        chunks, outline = splitter.split_page(page, outline)
        yield from chunks


class StructureSplitter:
    """Cuts at headings, paragraphs, sentences, list items, table rows and code lines; the heading path is context."""

    def __init__(self, max_tokens: int, overlap_tokens: int, tokens: TokenCounter) -> None:
        self._max_tokens = max_tokens
        self._overlap_tokens = overlap_tokens
        self._tokens = tokens
        self._max_context_tokens = tokens.max_tokens - tokens.special_tokens - _SPARE_TOKENS - max_tokens
        self._piece_tokens = max(max_tokens // 16, min(overlap_tokens, max_tokens // 4))

    def split_page(self, page: Page, outline: Outline) -> tuple[list[Chunk], Outline]:
        """Keep the promise of `Splitter`; only short neighbouring sections share a chunk."""
        starts = token_starts(page.text, self._tokens)
        units = list(page_units(page, starts, self._piece_tokens, self._max_tokens // 2))
        outlines = _outlines(page, units, outline)
        chunks = [
            self._chunk(page, units[first:last], outlines[first:last])
            for section_first, section_last in self._sections(units)
            for first, last in self._pack(units, section_first, section_last)
        ]
        return chunks, outlines[-1] if outlines else outline

    def _pack(self, units: list[Unit], first: int, last: int) -> Iterator[tuple[int, int]]:
        for start, end in pack(units[first:last], self._max_tokens, self._overlap_tokens):
            yield first + start, first + end

    def _sections(self, units: list[Unit]) -> Iterator[tuple[int, int]]:
        """Give ranges of units to pack: a section each, or short neighbouring sections that together fit one chunk."""
        borders = [at for at in range(1, len(units)) if strength(units, at) == Break.SECTION]
        start = 0
        for border, following in pairwise([*borders, len(units)]):
            short = min(size(units, start, border), size(units, border, following)) < _SHORT_SECTION_TOKENS
            if not short or size(units, start, following) > self._max_tokens:
                yield start, border
                start = border
        if units:
            yield start, len(units)

    def _chunk(self, page: Page, units: list[Unit], outlines: list[Outline]) -> Chunk:
        above = outlines[0][:-1] if units[0].block.kind == "heading" else outlines[0]
        context = [self._context(above)]
        header = units[0].header
        if header is not None:
            context.append(page.text[header.start : header.end])
        path = _common_path(units, outlines)
        return _make_chunk(page, units[0].start, units[-1].end, size(units, 0, len(units)), path, context)

    def _context(self, outline: Outline) -> str:
        """Join the headings, the innermost first to be kept where not all fit, its end cut off if even it does not."""
        kept: list[str] = []
        for heading in reversed(outline):
            longer = _HEADING_SEPARATOR.join([heading.text, *kept])
            if len(self._tokens.offsets(longer)) > self._max_context_tokens:
                break
            kept.insert(0, heading.text)
        if outline and not kept:
            offsets = self._tokens.offsets(outline[-1].text)
            if self._max_context_tokens:
                kept = [outline[-1].text[: offsets[self._max_context_tokens - 1][1]]]
        return _HEADING_SEPARATOR.join(kept)


class FixedSplitter:
    """Plain windows of tokens, cut between words, without regard to structure and without headings as context."""

    def __init__(self, max_tokens: int, overlap_tokens: int, tokens: TokenCounter) -> None:
        self._max_tokens = max_tokens
        self._overlap_tokens = overlap_tokens
        self._tokens = tokens

    def split_page(self, page: Page, outline: Outline) -> tuple[list[Chunk], Outline]:
        """Keep the promise of `Splitter`; headings are not looked at, so the outline stays as it is."""
        text = page.text
        starts = token_starts(text, self._tokens)
        chunks: list[Chunk] = []
        start = covered = 0
        while visible := _VISIBLE.search(text, start):
            start = visible.start()
            first, end = bisect_left(starts, start), len(text)
            if first + self._max_tokens < len(starts):
                end = cut_between_words(text, start, starts, self._max_tokens, self._max_tokens)
            shown_end = start + len(text[start:end].rstrip())
            if shown_end <= covered:
                start = covered
                continue
            chunks.append(_make_chunk(page, start, shown_end, bisect_left(starts, shown_end) - first, (), []))
            covered = shown_end
            start = end if end == len(text) else self._next_start(text, starts, first, end)
        return chunks, outline

    def _next_start(self, text: str, starts: list[int], first: int, end: int) -> int:
        """Give the first word border within the overlap before `end`."""
        last = bisect_left(starts, end)
        for at in range(max(last - self._overlap_tokens, first + 1), last):
            if is_word_border(text, starts[at]):
                return starts[at]
        return end


def _make_chunk(page: Page, start: int, end: int, token_count: int, path: tuple[str, ...], context: list[str]) -> Chunk:
    text = page.text[start:end]
    input_text = "\n".join([*filter(None, context), text])
    digest = hashlib.sha256(input_text.encode()).hexdigest()
    return Chunk(page.number, start, end, text, path, token_count, input_text, digest)


def _outlines(page: Page, units: list[Unit], outline: Outline) -> list[Outline]:
    """Give for each unit the outline it stands under; a heading stands under itself."""
    outlines: list[Outline] = []
    block: Block | None = None
    for unit in units:
        if unit.block.kind == "heading" and unit.block is not block:
            text = " ".join(page.text[unit.block.start : unit.block.end].lstrip("# ").split())
            level = max(unit.block.level, 1)
            outline = (*(heading for heading in outline if heading.level < level), Heading(level, text))
        block = unit.block
        outlines.append(outline)
    return outlines


def _common_path(units: list[Unit], outlines: list[Outline]) -> tuple[str, ...]:
    """Give the headings that all text of a chunk stands under; those of its last heading if it holds nothing else."""
    under_text = {outline for unit, outline in zip(units, outlines, strict=True) if unit.block.kind != "heading"}
    paths = list(under_text or {outlines[-1]})
    common = 0
    while all(len(path) > common and path[common] == paths[0][common] for path in paths):
        common += 1
    return tuple(heading.text for heading in paths[0][:common])
