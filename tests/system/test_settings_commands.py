"""Settings changed on a running server by the command line: the log obeys, also after a restart."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from tests.server_process import ServerProcess, running_server

WAIT_SECONDS = 30.0


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    with running_server(tmp_path, {"PERPLEX_QUEUE__EMBEDDED_REDIS": "false", "PERPLEX_OCR__ENGINE": "none"}) as started:
        yield started


def _settings(server: ServerProcess, *arguments: str) -> dict[str, Any]:
    variables = {name: value for name, value in os.environ.items() if not name.startswith("PERPLEX_")}
    done = subprocess.run(
        [sys.executable, "-m", "perplex_mono", "settings", *arguments, "--server", server.url, "--json"],
        cwd=server.data,
        env=variables,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return {item["name"]: item for item in json.loads(done.stdout)["items"]}


def _ask(server: ServerProcess, request_id: str) -> None:
    httpx.get(f"{server.url}/api/v1/collections", headers={"X-Request-ID": request_id}, timeout=60)


def _wait_for_line(server: ServerProcess, words: str) -> None:
    until = time.monotonic() + WAIT_SECONDS
    while words not in server.log_file.read_text():
        assert time.monotonic() < until, f"the log never said {words}"
        time.sleep(0.05)


def test_the_level_of_the_log_changes_at_once_and_stays(server: ServerProcess) -> None:
    changed = _settings(server, "--set", "logging.level=ERROR")["logging.level"]
    assert (changed["value"], changed["source"], changed["takes_effect"]) == ("ERROR", "override", "at_once")
    _ask(server, "quiet-request")
    _settings(server, "--unset", "logging.level")
    _ask(server, "loud-request")
    _wait_for_line(server, "loud-request")
    assert "quiet-request" not in server.log_file.read_text()

    _settings(server, "--set", "logging.level=ERROR")
    server.stop()
    said = server.log_file.read_text().count("server.started")
    server.start()
    assert _settings(server, "--set", "search.rrf_k=11")["logging.level"]["source"] == "override"
    assert server.log_file.read_text().count("server.started") == said
    shown = _settings(server)["server.port"]
    assert (shown["value"], shown["source"], shown["takes_effect"]) == (server.port, "environment", "fixed")


def test_so_many_feeds_may_be_open_from_now_on(server: ServerProcess) -> None:
    address = f"{server.url.replace('http', 'ws', 1)}/ws/operations"
    with connect(address) as first:
        assert json.loads(first.recv(WAIT_SECONDS))["type"] == "snapshot"
        _settings(server, "--set", "limits.sockets_per_user=1")
        with connect(address) as second, pytest.raises(ConnectionClosed) as closed:
            second.recv(WAIT_SECONDS)
        assert closed.value.rcvd is not None
        assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (1008, "You have 1 feeds open already.")
        _settings(server, "--unset", "limits.sockets_per_user")
        with connect(address) as third:
            assert json.loads(third.recv(WAIT_SECONDS))["type"] == "snapshot"
