"""Folders that are looked at now and then: what polling cannot see is seen by a second look."""

import asyncio
import time
from pathlib import Path
from typing import cast

import pytest

from perplex_mono.sources import watching
from perplex_mono.sources.models import Source
from perplex_mono.sources.service import SourceService
from perplex_mono.sources.watching import POLL_BLIND_SECONDS, FolderWatcher, WatchRules

POLL_SECONDS = 0.1
WAIT_SECONDS = 30.0


class Scans:
    """One watched source, and what its file held whenever somebody asked for a scan."""

    def __init__(self, file: Path) -> None:
        self.changed = asyncio.Event()
        self.seen: list[str] = []
        self._more = asyncio.Event()
        self._file = file
        self._source = Source(id="s", owner_id="o", collection_id="c", path=str(file.parent), include=[], exclude=[])

    async def list_watched(self) -> list[Source]:
        """As the service does."""
        return [self._source]

    async def scan_by_itself(self, source_id: str) -> None:
        """A scan that is over at once."""
        assert source_id == "s"
        self.seen.append(self._file.read_text() if self._file.exists() else "")
        self._more.set()

    async def wait_for(self, text: str) -> None:
        """Until a scan saw this."""
        async with asyncio.timeout(WAIT_SECONDS):
            while not self.seen or self.seen[-1] != text:
                self._more.clear()
                await self._more.wait()


async def test_a_file_that_changes_twice_in_a_second_is_seen_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "CHECK_SECONDS", 0.1)
    file = tmp_path / "papers" / "note.txt"
    file.parent.mkdir()
    scans = Scans(file)
    rules = WatchRules(debounce_seconds=0.05, rescan_seconds=3600, polling="always", poll_seconds=POLL_SECONDS)
    watcher = FolderWatcher(cast(SourceService, scans), rules)
    running = asyncio.create_task(watcher._run())
    try:
        await scans.wait_for("")
        await asyncio.sleep(10 * POLL_SECONDS)  # until polling looks
        await asyncio.sleep(POLL_BLIND_SECONDS - time.time() % POLL_BLIND_SECONDS)
        file.write_text("one")
        await scans.wait_for("one")
        file.write_text("two")
        await scans.wait_for("two")
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
