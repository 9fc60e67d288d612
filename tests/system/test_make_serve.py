"""The first command of the README, as it is typed: it installs nothing that is there, and serves."""

import os
import signal
import subprocess
import time
from pathlib import Path

import httpx
import pytest

from tests.server_process import START_SECONDS, free_port

ROOT = Path(__file__).parents[2]


def test_make_serve_serves_until_it_is_interrupted(tmp_path: Path) -> None:
    if not (ROOT / ".venv/.stamp-runtime").is_file():
        pytest.skip("`make install` has not been run here; the tests run in another environment")
    port, log = free_port(), tmp_path / "log"
    command = ["make", "serve", f"ARGS=--port {port} --data {tmp_path / 'data'}"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PERPLEX_")}
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=output, stderr=output, start_new_session=True
        )
    try:
        deadline = time.monotonic() + START_SECONDS
        while not _is_healthy(port):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
    finally:
        os.killpg(process.pid, signal.SIGINT)  # as Ctrl-C does, to all of them
        process.wait(60)
    assert not _is_healthy(port)
    assert "Traceback" not in log.read_text()


def _is_healthy(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/health", timeout=2).status_code == 200
    except httpx.TransportError:
        return False
