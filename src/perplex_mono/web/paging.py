"""Paging parameters, the same for every list."""

from typing import Annotated

from litestar.params import QueryParameter

PageLimit = Annotated[int, QueryParameter(ge=1, le=200, description="How many items at most")]
Cursor = Annotated[
    str | None, QueryParameter(max_length=64, description="`next_cursor` of the page before; absent for the first")
]
