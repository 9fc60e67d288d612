"""Paging parameters, the same for every list."""

from typing import Annotated

from litestar.params import QueryParameter

_ID = r"^([0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|local)$"
_NEXT = "`next_cursor` of the page before; absent for the first"
_PATH_CHARS = 8192  # of the longest path, encoded
CURSOR = "cursor"  # by which name handlers ask for it
NO_CURSOR = "This is not a cursor of this list; send `next_cursor` of the page before, or none for the first page."

PageLimit = Annotated[int, QueryParameter(ge=1, le=200, description="How many items at most")]
Cursor = Annotated[str | None, QueryParameter(pattern=_ID, description=_NEXT)]
"""The id of the last item of the page before."""
PathCursor = Annotated[str | None, QueryParameter(max_length=_PATH_CHARS, description=_NEXT)]
"""The path of that item, in base64."""
