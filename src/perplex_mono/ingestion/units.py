"""Cuts a page into units: the smallest pieces that chunks are put together from, each with its size in tokens.

A unit is a sentence, a heading, a table row or a code line; one too long for that becomes several, cut at line ends,
else between words, else between tokens.
"""

from bisect import bisect_left
from collections.abc import Iterator
from enum import IntEnum
from itertools import chain
from typing import NamedTuple, Protocol

from perplex_mono.ingestion.pages import Block, Page
from perplex_mono.ingestion.sentences import split_sentences, trim

# Tokenizers are fed slices: their cost and memory on one huge text is not ours to trust.
_WINDOW_CHARS = 20_000
# WordPiece reads a word of more than 100 characters as one unknown token, so such a stretch is counted by its
# characters: the bound on what any part of it can cost once it is cut.
_MAX_TOKEN_CHARS = 100
_FIRST_UNSPACED_SCRIPT = "\u2e80"


class TokenCounter(Protocol):
    """The embedder's tokenizer as the splitter needs it: no truncation, no padding, no special tokens."""

    special_tokens: int
    """How many tokens the model adds to each text."""
    max_tokens: int
    """How many tokens the model reads, special ones included."""

    def offsets(self, text: str) -> list[tuple[int, int]]:
        """Give each token's `(start, end)` character offsets in `text`, in order."""
        ...


class Break(IntEnum):
    """What a cut in front of a unit would separate; larger is a better place to cut."""

    GLUED = 0
    WORD = 1
    LINE = 2
    SENTENCE = 3
    ITEM = 4
    BLOCK = 5
    SECTION = 6


class Header(NamedTuple):
    """The header row of a table, `[start, end)` of the page's text, perhaps cut short."""

    start: int
    end: int
    tokens: int


class Unit(NamedTuple):
    """A piece `[start, end)` of the page's text made of the page's tokens `[first_token, last_token)`.

    `header` is set on the rows of a table below its header row.
    """

    start: int
    end: int
    first_token: int
    last_token: int
    brk: Break
    block: Block
    header: Header | None = None


def token_starts(text: str, tokens: TokenCounter) -> list[int]:
    """Give where each token of `text` starts, ascending; stretches without tokens are counted by characters."""
    starts: list[int] = []
    for window_start, window_end in _windows(text):
        for token_start, _ in tokens.offsets(text[window_start:window_end]):
            _append_start(starts, window_start + token_start)
    _append_start(starts, len(text))
    starts.pop()
    return starts


def page_units(page: Page, starts: list[int], piece_tokens: int, max_unit_tokens: int) -> Iterator[Unit]:
    """Give the units of a page in order, covering all its text but white space.

    A unit of more than `max_unit_tokens` is cut into pieces of about `piece_tokens`.
    """
    for block in complete_blocks(page):
        header: Header | None = None
        for at, (start, end, brk) in enumerate(_spans(page.text, block)):
            first, last = bisect_left(starts, start), bisect_left(starts, end)
            if block.kind == "table" and at == 1:
                header = _header(page.text, block, starts, max_unit_tokens // 2)
            unit = Unit(start, end, first, last, brk, block, header)
            if last - first <= max_unit_tokens:
                yield unit
            else:
                yield from _pieces(page.text, unit, starts, piece_tokens, max_unit_tokens)


def _append_start(starts: list[int], start: int) -> None:
    """Add a token's start, filling a longer stretch before it that has no token of its own."""
    previous = starts[-1] if starts else -1
    if start - previous > _MAX_TOKEN_CHARS:
        starts.extend(range(previous + 1, start))
    starts.append(start)


def _windows(text: str) -> Iterator[tuple[int, int]]:
    start = 0
    while start < len(text):
        end = start + _WINDOW_CHARS
        if end < len(text):
            blank = max(text.rfind(" ", start + 1, end), text.rfind("\n", start + 1, end))
            end = blank if blank > 0 else end
        yield start, min(end, len(text))
        start = end


def complete_blocks(page: Page) -> Iterator[Block]:
    """Give the page's blocks, with paragraphs for text that no block covers: nothing a reader forgot is lost."""
    at = 0
    for block in page.blocks:
        start, end = max(block.start, at), min(block.end, len(page.text))
        if start >= end:
            continue
        if page.text[at:start].strip():
            yield Block(kind="paragraph", start=at, end=start)
        yield Block(kind=block.kind, start=start, end=end, level=block.level)
        at = end
    if page.text[at:].strip():
        yield Block(kind="paragraph", start=at, end=len(page.text))


def _spans(text: str, block: Block) -> Iterator[tuple[int, int, Break]]:
    """Cut a block where its kind says, each span with the break in front of it."""
    if block.kind == "heading":
        start, end = trim(text, block.start, block.end)
        if start < end:
            yield start, end, Break.SECTION
    elif block.kind == "table":
        yield from _rows(text, block)
    elif block.kind == "code":
        yield from _lines(text, block)
    else:
        yield from _sentences(text, block)


def _sentences(text: str, block: Block) -> Iterator[tuple[int, int, Break]]:
    opening = Break.ITEM if block.kind == "list_item" else Break.BLOCK
    previous_end = 0
    for at, (start, end) in enumerate(split_sentences(text[block.start : block.end])):
        brk = opening if at == 0 else Break.SENTENCE
        if at and text.count("\n", block.start + previous_end, block.start + start) > 1:
            brk = Break.BLOCK
        yield block.start + start, block.start + end, brk
        previous_end = end


def _rows(text: str, block: Block) -> Iterator[tuple[int, int, Break]]:
    """Give a Markdown table's rows; the header row and the rule under it stay together and lead."""
    rows = [(start, end) for start, end, _ in _lines(text, block)]
    if len(rows) > 1 and not text[rows[1][0] : rows[1][1]].strip("|-: \t"):
        rows[0:2] = [(rows[0][0], rows[1][1])]
    for at, (start, end) in enumerate(rows):
        yield start, end, (Break.BLOCK, Break.GLUED)[at] if at < 2 else Break.ITEM


def _lines(text: str, block: Block) -> Iterator[tuple[int, int, Break]]:
    at = block.start
    brk = Break.BLOCK
    for line in text[block.start : block.end].splitlines(keepends=True):
        end = at + len(line.rstrip())
        if line.strip():
            yield at + len(line) - len(line.lstrip()), end, brk
            brk = Break.ITEM
        else:
            brk = Break.BLOCK
        at += len(line)


def _header(text: str, block: Block, starts: list[int], max_tokens: int) -> Header:
    start, end, _ = next(_lines(text, block))
    first, last = bisect_left(starts, start), bisect_left(starts, end)
    if last - first > max_tokens:
        last = first + max_tokens
        end = starts[last]
    return Header(start, end, last - first)


def _pieces(text: str, unit: Unit, starts: list[int], size: int, limit: int) -> Iterator[Unit]:
    """Cut a unit at its line ends, and lines longer than `size` tokens between words."""
    brk = unit.brk
    at = unit.start
    for line in text[unit.start : unit.end].splitlines(keepends=True):
        for start, end in _word_pieces(text, at, at + len(line), starts, size, limit):
            first, last = bisect_left(starts, start), bisect_left(starts, end)
            yield Unit(start, end, first, last, brk, unit.block, unit.header)
            brk = Break.WORD
        brk = Break.LINE if brk is Break.WORD else brk
        at += len(line)


def _word_pieces(
    text: str, start: int, end: int, starts: list[int], size: int, limit: int
) -> Iterator[tuple[int, int]]:
    while start < end:
        cut = end
        if bisect_left(starts, start) + size < bisect_left(starts, end):
            cut = min(end, cut_between_words(text, start, starts, size, limit))
        piece_start, piece_end = trim(text, start, cut)
        if piece_start < piece_end:
            yield piece_start, piece_end
        start = cut


def cut_between_words(text: str, start: int, starts: list[int], size: int, limit: int) -> int:
    """Give where to cut the text from `start` on: a word border, as near below `size` tokens as the second half offers.

    Without one there the next up to `limit` tokens is taken, and without that a token's start.
    """
    first = bisect_left(starts, start)
    for at in chain(range(first + size, first + size // 2, -1), range(first + size + 1, first + limit + 1)):
        if at < len(starts) and starts[at] > start and is_word_border(text, starts[at]):
            return starts[at]
    return max(starts[first + size], start + 1)


def is_word_border(text: str, at: int) -> bool:
    """Whether a cut in front of character `at` leaves words whole; scripts without spaces may be cut anywhere."""
    before, after = text[at - 1], text[at]
    return before.isspace() or after.isspace() or max(before, after) >= _FIRST_UNSPACED_SCRIPT
