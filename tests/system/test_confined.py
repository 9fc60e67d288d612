"""Confined as the image and compose.yaml confine it, the server starts, reads and finds."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.documents import scanned_pdf
from tests.server_process import START_SECONDS, ServerProcess
from tests.system.confined_server import WRITABLE_VARIABLE
from tests.system.faults.means import missing

ROOT = Path(__file__).parents[2]
COMMAND_SECONDS = 180


class Inside:
    """Runs programs in the network namespace of a server, as the health check is run in its container."""

    def __init__(self, server: ServerProcess, directory: Path) -> None:
        self.server = server
        self._enter = [str(shutil.which("nsenter")), f"--target={server.pid}", "--net", "--"]
        self._directory = directory
        self.log_file = directory / "logs" / "perplex.log"
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

    def components(self) -> dict[str, str]:
        """How each part of the server is."""
        program = "import sys, urllib.request as r; sys.stdout.write(r.urlopen(sys.argv[1]).read().decode())"
        view = json.loads(self.run("-c", program, f"{self.server.url}/ready").stdout)
        return {name: component["status"] for name, component in view["components"].items()}

    def is_healthy(self) -> bool:
        """What the image's own health check says."""
        return self.run("-I", "-S", str(ROOT / "deploy/healthcheck.py")).returncode == 0


@pytest.fixture
def inside() -> Iterator[Inside]:
    needed = ("nsenter", "setpriv", "mount")
    if sys.platform != "linux" or os.geteuid() != 0 or not all(shutil.which(name) for name in needed):
        missing("namespaces need Linux, root, and Debian's util-linux and mount")
    with TemporaryDirectory(prefix="confined-") as short:  # a path that has room for the name of a socket
        yield from _served(Path(short))


def _served(folder: Path) -> Iterator[Inside]:
    writable = {name: folder / name for name in ("data", "logs", "tmp")}
    for path in writable.values():
        path.mkdir(mode=0o700)
    environment = {
        "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]),
        "PYTHONDONTWRITEBYTECODE": "1",
        WRITABLE_VARIABLE: os.pathsep.join(map(str, writable.values())),
        "TMPDIR": str(writable["tmp"]),
        "HOME": str(writable["tmp"]),
        "XDG_CACHE_HOME": str(writable["tmp"] / "cache"),
        "PERPLEX_LOGGING__FILE": str(writable["logs"] / "perplex.log"),
    }
    server = ServerProcess(folder, environment, module="tests.system.confined_server")
    server.launch()
    try:
        found = Inside(server, folder)
        deadline = time.monotonic() + START_SECONDS
        while not found.is_healthy():
            assert not server.ended(), server.log()[-2000:]
            assert time.monotonic() < deadline, server.log()[-2000:]
            time.sleep(0.1)
        yield found
    finally:
        code = server.stop()
    assert code == 0, server.log()[-2000:]


def test_it_starts_reads_and_finds(inside: Inside, tmp_path: Path) -> None:
    document = tmp_path / "lighthouse.txt"
    document.write_text("The lens of the lighthouse was ground in Paris in 1871.")
    scan = scanned_pdf(tmp_path / "scan.pdf", ["The keeper of the lighthouse kept seven goats"])
    ingested = inside.run("-m", "perplex_mono", "ingest", "--json", str(document), str(scan))
    assert ingested.returncode == 0, ingested.stdout + ingested.stderr
    for question, answer in (("Where does the glass come from?", "ground in Paris"), ("Which animals?", "goats")):
        searched = inside.run("-m", "perplex_mono", "search", "--json", "--mode", "dense", question)
        assert searched.returncode == 0, searched.stderr
        assert answer in json.loads(searched.stdout)["hits"][0]["text"]
    assert inside.log_file.read_text()
    assert {name: state for name, state in inside.components().items() if state == "down"} == {}
    assert inside.components()["queue"] == "ok", "the private Redis runs as well"


def test_it_is_as_confined_as_is_said(inside: Inside) -> None:
    interfaces = inside.run("-c", "import socket; print(socket.if_nameindex())")
    assert interfaces.stdout.strip() == "[(1, 'lo')]"
    process = Path("/proc") / str(inside.server.pid)
    status = dict(line.split(":\t", 1) for line in (process / "status").read_text().splitlines() if ":\t" in line)
    assert {int(status[f"Cap{kind}"], 16) for kind in ("Inh", "Prm", "Eff", "Bnd")} == {0}
    assert status["NoNewPrivs"] == "1"
    mounts = [line.split() for line in (process / "mounts").read_text().splitlines()]
    (root,) = [options for _, place, _, options, *_ in mounts if place == "/"]
    assert "ro" in root.split(",")
