"""What a name on the command line means: one's own collection first, and never a guess between several."""

from datetime import UTC, datetime
from typing import Any, cast

import msgspec
import pytest

from perplex_mono.cli.backend import Backend, resolve_collections
from perplex_mono.errors import InvalidInput
from perplex_mono.library.schemas import CollectionPage, CollectionView


def view(row_id: str, name: str, access: str) -> CollectionView:
    """A collection, of which a name is looked for by these three fields alone."""
    values: dict[str, Any] = {field.name: None for field in msgspec.structs.fields(CollectionView) if field.required}
    return CollectionView(**{**values, "id": row_id, "name": name, "access": access, "created_at": datetime.now(UTC)})


class Known:
    """Answers with these collections, one to a page."""

    def __init__(self, *views: CollectionView) -> None:
        self._views = views

    async def collections(self, cursor: str | None) -> CollectionPage:
        """The next one."""
        number = int(cursor or 0)
        is_last = number + 1 == len(self._views)
        return CollectionPage(items=[self._views[number]], next_cursor=None if is_last else str(number + 1))


async def resolved(*keys: str) -> list[str]:
    known = Known(
        view("1", "default", "own"),
        view("2", "papers", "write"),
        view("3", "papers", "own"),
        view("4", "letters", "read"),
        view("5", "letters", "write"),
        view("6", "4", "own"),
    )
    return await resolve_collections(cast(Backend, known), keys)


async def test_ones_own_collection_is_meant_whoever_shares_another_by_that_name() -> None:
    assert await resolved("papers") == ["3"]
    assert await resolved("2", "papers", "3") == ["2", "3"]


async def test_an_id_is_an_id_whatever_somebody_named_so() -> None:
    assert await resolved("4") == ["4"]


async def test_of_several_that_are_shared_none_is_guessed() -> None:
    with pytest.raises(InvalidInput, match="give the id: 4, 5"):
        await resolved("letters")


async def test_a_name_that_is_not_there_is_told_with_those_that_are() -> None:
    with pytest.raises(InvalidInput, match=r"no collection 'paper'\. There are: 'default', 'papers'"):
        await resolved("paper")
