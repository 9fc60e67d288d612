"""A real server follows a folder by itself: written, edited, renamed and removed files, polled or told."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.server_process import ServerProcess, running_server

SECONDS = 90.0


def note(word: str) -> str:
    return f"The {word} was seen from the harbour wall again. " * 12


class Watched:
    """What the server says about its watched folder."""

    def __init__(self, server: ServerProcess, folder: Path) -> None:
        self._server = server
        body = {"directory": str(folder)}
        answer = httpx.post(f"{server.url}/api/v1/collections/default/sources", json=body, timeout=60)
        assert answer.status_code == 201, answer.text

    def found(self, word: str) -> set[str]:
        """The names of the documents with this word."""
        answer = httpx.post(f"{self._server.url}/api/v1/search", json={"query": word, "mode": "sparse"}, timeout=30)
        return {hit["document"]["name"] for hit in answer.json().get("hits", [])}

    def wait_for(self, word: str, names: set[str]) -> None:
        """Wait until exactly these documents hold the word."""
        until(lambda: self.found(word) == names, lambda: f"'{word}' is in {self.found(word)}, not in {names}")

    def component(self) -> dict[str, Any]:
        """The watcher as `/ready` has it."""
        watching: dict[str, Any] = httpx.get(f"{self._server.url}/ready", timeout=60).json()["components"]["watching"]
        return watching


def until(is_so: Callable[[], bool], otherwise: Callable[[], str]) -> None:
    deadline = time.monotonic() + SECONDS
    while not is_so():
        assert time.monotonic() < deadline, otherwise()
        time.sleep(0.1)


@pytest.mark.parametrize("polling", ["never", "always"])
def test_documents_follow_the_folder(tmp_path: Path, polling: str) -> None:
    folder, home = tmp_path / "papers", tmp_path / "home"
    folder.mkdir()
    home.mkdir()
    (folder / "early.txt").write_text(note("gannet"))
    environment = {
        "PERPLEX_SOURCES__ROOTS": os.pathsep.join((str(folder), str(tmp_path / "no-such-root"))),
        "PERPLEX_SOURCES__DEBOUNCE_SECONDS": "0.2",
        "PERPLEX_SOURCES__POLLING": polling,
        "PERPLEX_SOURCES__POLL_SECONDS": "0.3",
        "PERPLEX_QUEUE__EMBEDDED_REDIS": "false",
        "PERPLEX_QUEUE__POLL_SECONDS": "0.1",
    }
    with running_server(home, environment) as server:
        watched = Watched(server, folder)
        watched.wait_for("gannet", {"early.txt"})
        until(lambda: "no-such-root' of sources.roots is not a folder" in server.log(), server.log)
        (folder / "deep").mkdir()
        (folder / "deep" / "new.txt").write_text(note("walrus"))
        watched.wait_for("walrus", {"new.txt"})
        (folder / "deep" / "new.txt").write_text(note("seal") + "and more")
        watched.wait_for("seal", {"new.txt"})
        watched.wait_for("walrus", set())
        (folder / "deep").rename(folder / "moved")
        (folder / "moved" / "new.txt").rename(folder / "moved" / "other.txt")
        watched.wait_for("seal", {"other.txt"})
        (folder / "early.txt").unlink()
        watched.wait_for("gannet", set())
        assert watched.component()["status"] == "ok"
        folder.rename(tmp_path / "away")
        until(lambda: watched.component()["status"] == "degraded", lambda: str(watched.component()))
        assert watched.found("seal") == {"other.txt"}
        (tmp_path / "away" / "later.txt").write_text(note("puffin"))
        (tmp_path / "away").rename(folder)
        watched.wait_for("puffin", {"later.txt"})
        assert watched.found("seal") == {"other.txt"}
        server.stop()
        (folder / "later.txt").unlink()
        (folder / "offline.txt").write_text(note("plover"))
        server.start()
        watched.wait_for("plover", {"offline.txt"})
        watched.wait_for("puffin", set())
