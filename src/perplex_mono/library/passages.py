"""Stretches of pages: what search shows around a small chunk, without knowing how pages are stored."""

from collections.abc import Collection, Mapping
from typing import NamedTuple, Protocol


class PageSpan(NamedTuple):
    """`[start, end)` of the text of page `page` of the file with this hash."""

    sha256: str
    page: int
    start: int
    end: int


class Passage(NamedTuple):
    """What stands in a span, and where on the page: boxes in fractions of it, origin top left."""

    text: str
    boxes: list[tuple[float, float, float, float]]


class PassageReader(Protocol):
    """Reads spans of stored pages."""

    async def read(self, spans: Collection[PageSpan]) -> Mapping[PageSpan, Passage]:
        """The passages that could be read; a span of a page that is not stored any more is missing."""
        ...
