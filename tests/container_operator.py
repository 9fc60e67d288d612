"""Somebody who runs the container or the pods of a page, with a folder in their place; see the two stand-ins."""

import os
import re
import subprocess
import sys
from pathlib import Path

from tests import docker_stand_in, kubectl_stand_in
from tests.server_process import ServerProcess

STOP, START = "docker compose stop perplex", "docker compose up --detach perplex"
SCALE = "kubectl --namespace perplex-mono scale deployment/perplex-mono --replicas"
SCALE_DOWN, SCALE_UP = f"{SCALE} 0", f"{SCALE} 1"
COMMAND_SECONDS = 180
ROOT = Path(__file__).parents[1]


class Operator:
    """At the machine the container runs on, in a folder of their own; the clock shows `day`."""

    def __init__(self, folder: Path, server: ServerProcess, day: str = "2026-11-22") -> None:
        self.folder = folder / "operator"
        self._server = server
        programs = folder / "programs"
        for place in (self.folder, programs):
            place.mkdir()
        for name, does in (
            ("docker", f'exec "{sys.executable}" -m {docker_stand_in.__name__} "$@"'),
            ("kubectl", f'exec "{sys.executable}" -m {kubectl_stand_in.__name__} "$@"'),
            ("perplex-mono", f'exec "{sys.executable}" -m perplex_mono "$@"'),
            ("date", f"echo {day}"),
        ):
            (programs / name).write_text(f"#!/bin/sh\n{does}\n")
            (programs / name).chmod(0o700)
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("PERPLEX_")},
            "PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}".rstrip(os.pathsep),
            "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
            "PERPLEX_DATA__DIRECTORY": str(server.data),
            "PERPLEX_SERVER__PORT": str(server.port),
            "PERPLEX_LIMITS__DISK_RESERVE_BYTES": "1000000",
            "PERPLEX_LIMITS__DISK_RESERVE_FRACTION": "0.0",
        }

    def types(self, line: str, *answers: str) -> str:
        """What a line prints; it has to succeed. What it asks for it reads from here, for it has no terminal."""
        if line in (STOP, START, SCALE_DOWN, SCALE_UP):
            self._stop_or_start(line)
            return ""
        done = self.tries(line, *answers)
        assert done.returncode == 0, (line, done.stderr)
        return done.stdout

    def tries(self, line: str, *answers: str) -> subprocess.CompletedProcess[str]:
        """Run a line, whatever comes of it."""
        return subprocess.run(
            ["/bin/sh", "-c", line],
            cwd=self.folder,
            env=self.environment,
            input="".join(f"{answer}\n" for answer in answers),
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS,
            start_new_session=True,
            check=False,
        )

    def _stop_or_start(self, line: str) -> None:
        if line in (START, SCALE_UP):
            self._server.start()
        else:
            assert self._server.stop() == 0


def sh_blocks(text: str) -> list[list[str]]:
    """The lines of each `sh` block; those that go on in the next are one with it."""
    blocks = re.findall(r"^```sh\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    return [block.replace("&&\n", "&& ").replace("\\\n", "").splitlines() for block in blocks]
