"""What a value should have been is told, wherever it stands: one of a list, or of a form that has words."""

from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal

import msgspec
import pytest
from litestar import Litestar, get, post
from litestar.params import JSONBody, QueryParameter
from litestar.testing import AsyncTestClient

from perplex_mono.web.problems import on_error

Colour = Literal["red", "green"]
Code = Annotated[str, msgspec.Meta(pattern="^[0-9]{3}$", description="three digits")]


class Inner(msgspec.Struct):
    colour: Colour | None = None
    code: Code | msgspec.UnsetType = msgspec.UNSET
    codes: Annotated[list[Code], msgspec.Meta(max_length=5)] = []


class Body(msgspec.Struct):
    colour: Colour = "red"
    inner: Inner | None = None
    size: int = 0


@get("/")
async def pick(status: Annotated[Colour | None, QueryParameter(description="Only such")] = None) -> None:
    """Takes a colour from the query."""


@post("/")
async def make(data: JSONBody[Body]) -> None:
    """Takes colours from the body."""


@pytest.fixture
async def client() -> AsyncIterator[AsyncTestClient[Litestar]]:
    async with AsyncTestClient(Litestar([pick, make], exception_handlers={Exception: on_error})) as opened:
        yield opened


async def test_a_query_names_the_allowed_values(client: AsyncTestClient[Litestar]) -> None:
    [error] = (await client.get("/", params={"status": "bogus"})).json()["errors"]
    assert error == {"field": "status", "message": "Invalid enum value 'bogus'; allowed: green, red"}


@pytest.mark.parametrize(
    ("body", "field"), [({"colour": "bogus"}, "colour"), ({"inner": {"colour": "bogus"}}, "inner.colour")]
)
async def test_a_body_names_the_allowed_values(
    client: AsyncTestClient[Litestar], body: dict[str, Any], field: str
) -> None:
    [error] = (await client.post("/", json=body)).json()["errors"]
    assert error == {"field": field, "message": "Invalid enum value 'bogus'; allowed: green, red"}


@pytest.mark.parametrize(
    ("inner", "field"), [({"code": "12"}, "inner.code"), ({"codes": ["123", "12a"]}, "inner.codes[1]")]
)
async def test_a_pattern_is_told_in_words(client: AsyncTestClient[Litestar], inner: dict[str, Any], field: str) -> None:
    [error] = (await client.post("/", json={"inner": inner})).json()["errors"]
    assert error == {"field": field, "message": "Expected three digits"}


async def test_other_mistakes_stay_as_they_are_told(client: AsyncTestClient[Litestar]) -> None:
    [error] = (await client.post("/", json={"size": "large"})).json()["errors"]
    assert error["field"] == "size"
    assert "allowed" not in error["message"]
