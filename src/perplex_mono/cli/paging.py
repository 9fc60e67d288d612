"""Lists of the API, page after page."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol, TypeVar

Item_co = TypeVar("Item_co", covariant=True)


class Page(Protocol[Item_co]):
    """A part of a list, and where the next one begins."""

    @property
    def items(self) -> Sequence[Item_co]: ...

    @property
    def next_cursor(self) -> str | None: ...


async def all_items(fetch: Callable[[str | None], Awaitable[Page[Item_co]]]) -> list[Item_co]:
    """The items of every page, in order; `fetch` takes the cursor of a page."""
    found: list[Item_co] = []
    cursor: str | None = None
    while True:
        page = await fetch(cursor)
        found += page.items
        cursor = page.next_cursor
        if cursor is None:
            return found
