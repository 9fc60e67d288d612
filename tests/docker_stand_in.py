"""`docker compose` as far as the pages use it, where no container engine is: the container is a folder of the machine.

Its `/data` is the data directory of the environment, and commands in it run as they are. A container that runs is one
whose server listens.
"""

import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

SERVICE = "perplex"
OPTIONS = {"exec": {"--env", "-T"}, "run": {"--rm", "-T"}}
"""What the page may give; a file of the host's that is mounted could not be read in there."""
OPTIONS_WITH_VALUE = {"--env"}


def inside(word: str) -> str:
    """A word of a command with the container's paths as they are here."""
    return re.sub(r"(?<!\w)/data\b", os.environ["PERPLEX_DATA__DIRECTORY"], word)


def is_running() -> bool:
    """Whether the service's server is there to run a command beside."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", int(os.environ["PERPLEX_SERVER__PORT"]))) == 0


def run_inside(verb: str, words: list[str]) -> int:
    """A command beside the server (`exec`), or in a container of its own (`run`)."""
    while words[0] != SERVICE:
        if words[0] not in OPTIONS[verb]:
            raise SystemExit(f"docker compose {verb} {words[0]}: not known here")
        words = words[2 if words[0] in OPTIONS_WITH_VALUE else 1 :]
    if verb == "exec" and not is_running():
        raise SystemExit(f'service "{SERVICE}" is not running')
    return subprocess.run([inside(word) for word in words[1:]], check=False).returncode


def copy_out(source: str, target: str) -> int:
    """A file of the container, with its mode, as a file of whoever asks."""
    service, _, path = source.partition(":")
    if service != SERVICE:
        raise SystemExit("docker compose cp: what is copied in belongs to another user, who alone may read it")
    shutil.copy(Path(inside(path)), target)
    return 0


if __name__ == "__main__":
    compose, command, *rest = sys.argv[1:]
    if compose != "compose":
        raise SystemExit(f"docker {compose}: not known here")
    raise SystemExit(copy_out(*rest) if command == "cp" else run_inside(command, rest))
