"""A server without any network starts, reads and finds: what the image promises, in a namespace without a container."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.server_process import START_SECONDS, ServerProcess
from tests.system.faults.means import missing

ROOT = Path(__file__).parents[2]
COMMAND_SECONDS = 180


class Inside:
    """Runs programs in the network namespace of a server."""

    def __init__(self, server: ServerProcess, directory: Path) -> None:
        self._enter = [str(shutil.which("nsenter")), f"--target={server.pid}", "--net", "--"]
        self._directory = directory
        self._environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith("PERPLEX_")},
            "PERPLEX_DATA__DIRECTORY": str(server.data),
            "PERPLEX_SERVER__PORT": str(server.port),
        }

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Python with these arguments, to its end."""
        return subprocess.run(
            [*self._enter, sys.executable, *arguments],
            cwd=self._directory,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS,
        )

    def is_healthy(self) -> bool:
        """What the image's own health check says."""
        return self.run("-I", "-S", str(ROOT / "deploy/healthcheck.py")).returncode == 0


@pytest.fixture
def inside(tmp_path: Path) -> Iterator[Inside]:
    if sys.platform != "linux" or os.geteuid() != 0 or shutil.which("nsenter") is None:
        missing("a network namespace needs Linux, root and nsenter")
    path = os.pathsep.join([str(ROOT), *sys.path])
    server = ServerProcess(tmp_path, {"PYTHONPATH": path}, module="tests.system.isolated_server")
    server.launch()
    try:
        found = Inside(server, tmp_path)
        deadline = time.monotonic() + START_SECONDS
        while not found.is_healthy():
            assert not server.ended(), server.log()[-2000:]
            assert time.monotonic() < deadline, server.log()[-2000:]
            time.sleep(0.1)
        yield found
    finally:
        assert server.stop() == 0


def test_it_starts_reads_and_finds(inside: Inside, tmp_path: Path) -> None:
    interfaces = inside.run("-c", "import socket; print(socket.if_nameindex())")
    assert interfaces.stdout.strip() == "[(1, 'lo')]"
    document = tmp_path / "lighthouse.txt"
    document.write_text("The lens of the lighthouse was ground in Paris in 1871.")
    ingested = inside.run("-m", "perplex_mono", "ingest", "--json", str(document))
    assert ingested.returncode == 0, ingested.stderr
    searched = inside.run(
        "-m", "perplex_mono", "search", "--json", "--mode", "dense", "Where does the glass come from?"
    )
    assert searched.returncode == 0, searched.stderr
    assert "ground in Paris" in json.loads(searched.stdout)["hits"][0]["text"]
