"""What cutting a page into chunks means: the pieces of text that are embedded, searched and cited.

A chunk never crosses a page, and cuts depend on the page alone, so an edit of one page changes only that page's chunks.
What does carry over is the path of open headings: chunks of later pages name it until a heading of its level or above
replaces it, and are embedded again if it changes, because the model then reads something else.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

import msgspec

from perplex_mono.ingestion.pages import Page


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
    `[parent_start, parent_end)` of the page's text is what is shown when this chunk is found; None means itself.
    """

    page: int
    start: int
    end: int
    text: str
    heading_path: tuple[str, ...]
    token_count: int
    input_text: str
    input_hash: str
    parent_start: int | None = None
    parent_end: int | None = None


class Splitter(Protocol):
    """One way to cut a page."""

    def split_page(self, page: Page, outline: Outline) -> tuple[list[Chunk], Outline]:
        """Cut one page that begins under `outline`; give its chunks in order and the outline at its end.

        The chunks cover all text of the page but white space, and overlap only as far as the overlap setting says.
        Blocking: call it on a thread.
        """
        ...


def split_pages(splitter: Splitter, pages: Iterable[Page]) -> Iterator[Chunk]:
    """Cut the pages of one document, in order, holding one page at a time."""
    outline: Outline = ()
    for page in pages:
        chunks, outline = splitter.split_page(page, outline)
        yield from chunks


def make_chunk(
    page: Page,
    start: int,
    end: int,
    token_count: int,
    *,
    heading_path: Sequence[str] = (),
    context: Iterable[str] = (),
    parent: tuple[int, int] | None = None,
) -> Chunk:
    """The chunk `[start, end)` of the page; the model reads the lines of `context` before it."""
    text = page.text[start:end]
    input_text = "\n".join([*filter(None, context), text])
    return Chunk(
        page=page.number,
        start=start,
        end=end,
        text=text,
        heading_path=tuple(heading_path),
        token_count=token_count,
        input_text=input_text,
        input_hash=hashlib.sha256(input_text.encode()).hexdigest(),
        parent_start=parent[0] if parent else None,
        parent_end=parent[1] if parent else None,
    )
