"""The README's first session, run as it stands there, against a real server."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.server_process import ServerProcess, running_server

ROOT = Path(__file__).parents[2]
OPERATION = re.compile(r'"operation_id":"([0-9a-f-]{36})"')


def session() -> list[tuple[str, list[str]]]:
    """Each command of the section with the lines shown below it."""
    section = (ROOT / "README.md").read_text(encoding="utf-8").split("## A first session", 1)[1].split("\n## ", 1)[0]
    commands: list[tuple[str, list[str]]] = []
    for block in re.findall(r"```console\n(.*?)```", section, re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            if line.startswith("$ "):
                commands.append((line[2:], []))
            elif line.strip():
                commands[-1][1].append(line.strip())
    return commands


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with running_server(tmp_path_factory.mktemp("readme")) as started:
        started.wait_ready()
        yield started


def test_the_first_session_goes_as_shown(server: ServerProcess) -> None:
    operation = ""
    for command, shown in session():
        shown_operation = next(iter(re.findall(r"--follow (\S+)", command)), "")
        here = command.replace("127.0.0.1:8080", f"127.0.0.1:{server.port}")
        here = here.replace(shown_operation, operation) if shown_operation else here
        if ".venv/bin/perplex-mono" in here:
            here = (
                here.replace(".venv/bin/perplex-mono", f"{sys.executable} -m perplex_mono") + f" --server {server.url}"
            )
        result = subprocess.run(here, shell=True, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
        assert result.returncode == 0, (here, result.stderr)
        operation = next(iter(OPERATION.findall(result.stdout)), operation)
        for line in _lasting(shown):
            assert line in _plain(result.stdout), (command, line, result.stdout)


def _lasting(shown: list[str]) -> list[str]:
    """Of the lines shown, what is the same on every machine: no progress, times, ids, or what is left out."""
    kept = [_plain(line) for line in shown if "━" not in line and "..." not in line and '"' not in line]
    return [re.sub(r" in \d+ s$", "", line) for line in kept]


def _plain(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip()
