"""The feed of a scan over a real WebSocket: what it tells, and whom it refuses."""

import asyncio
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from tests.server_process import running_server

SECONDS = 120.0
FILES = 40
FIGURES = ("files_seen", "files_new", "files_changed", "files_removed", "files_skipped", "current")


async def test_the_feed_tells_how_far_a_scan_is(tmp_path: Path) -> None:
    folder, home = tmp_path / "papers", tmp_path / "home"
    folder.mkdir()
    home.mkdir()
    for number in range(FILES):
        (folder / f"{number}.txt").write_text(f"Own words of file number {number}. " * 20)
    (folder / "empty.txt").touch()
    environment = {"PERPLEX_SOURCES__ROOTS": str(folder), "PERPLEX_QUEUE__EMBEDDED_REDIS": "false"}
    with running_server(home, environment) as server:
        sources = f"{server.url}/api/v1/collections/default/sources"
        feed = f"ws://127.0.0.1:{server.port}/ws/directory-scan"
        async with httpx.AsyncClient(timeout=SECONDS) as client:
            source = (await client.post(sources, json={"directory": str(folder), "watch": False})).json()
            accepted = (await client.post(f"{sources}/{source['id']}/scan")).json()
            events = await until_completed(f"{feed}/{accepted['scan_id']}?after=0")
            children = (await client.get(f"{server.url}/api/v1/operations?kind=ingest")).json()["items"]
            refused = {name: await closing_code(f"{feed}/{name}") for name in ("unknown", children[0]["id"])}
    assert {event["operation_id"] for event in events} == {accepted["scan_id"]}
    progress = [event["data"] for event in events if event["type"] == "scan_progress"]
    assert progress
    assert all(set(FIGURES) <= set(data) for data in progress)
    assert [data["files_seen"] for data in progress] == sorted(data["files_seen"] for data in progress)
    last = progress[-1]
    assert (last["files_seen"], last["files_new"], last["files_skipped"]) == (FILES + 1, FILES, 1)
    assert events[-1]["data"]["files_new"] == FILES
    assert refused == {"unknown": 4404, children[0]["id"]: 4404}


async def until_completed(address: str) -> list[dict[str, Any]]:
    """Every numbered event of the feed up to the operation's end."""
    events: list[dict[str, Any]] = []
    async with asyncio.timeout(SECONDS), connect(address, proxy=None) as feed:
        while not events or events[-1]["type"] != "completed":
            events.append(json.loads(await feed.recv()))
    return events


async def closing_code(address: str) -> int:
    """With which code the server closes."""
    async with asyncio.timeout(SECONDS), connect(address, proxy=None) as feed:
        with suppress(ConnectionClosed):
            await feed.recv()
    return feed.close_code or 0
