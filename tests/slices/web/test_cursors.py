"""A cursor that no list gave is refused in words, by every list of the API's own description."""

import re
from pathlib import Path

import pytest

from perplex_mono.web.paging import NO_CURSOR
from tests.app_client import App, open_app

LISTS = {
    "/api/v1/all-operations",
    "/api/v1/api-keys",
    "/api/v1/audit",
    "/api/v1/collections",
    "/api/v1/collections/{collection_id}/documents",
    "/api/v1/collections/{collection_id}/sources",
    "/api/v1/collections/{collection_id}/sources/{source_id}/files",
    "/api/v1/operations",
    "/api/v1/users",
}


async def _with_cursors(app: App) -> set[str]:
    """The paths of the lists that take a cursor."""
    paths = (await app.client.get("/schema/openapi.json")).json()["paths"]
    return {
        path
        for path, calls in paths.items()
        if any(given["name"] == "cursor" for given in calls.get("get", {}).get("parameters", []))
    }


async def _told(app: App, path: str, cursor: str) -> str:
    """What the list says of a cursor."""
    answer = await app.client.get(re.sub(r"\{\w+\}", "default", path), params={"cursor": cursor})
    assert answer.status_code == 400, answer.text
    told: dict[str, str] = {error["field"]: error["message"] for error in answer.json().get("errors", [])}
    return told.get("cursor") or str(answer.json()["detail"])


@pytest.mark.parametrize("cursor", ["?", "2", "' OR 1=1 --", "x" * 9000])
async def test_what_is_no_cursor_is_told_where_to_get_one(tmp_path: Path, cursor: str) -> None:
    async with open_app(tmp_path) as app:
        assert await _with_cursors(app) == LISTS
        assert {path: await _told(app, path, cursor) for path in LISTS} == dict.fromkeys(LISTS, NO_CURSOR)
        good = await app.client.get("/api/v1/operations", params={"cursor": "01a200aa-0000-7000-8000-000000000001"})
        assert good.status_code == 200
