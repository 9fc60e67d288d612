"""The commands that pages show: what is typed, and what is shown below it."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

UUID = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
LEFT_OUT = "..."
SHOWN_ADDRESS = "127.0.0.1:8080"
COMMAND_SECONDS = 180
_FAILED = re.compile(r"(error:|failed) ")


class ShownCommand(NamedTuple):
    """A command with the lines shown below it."""

    command: str
    shown: list[str]


def shown_commands(text: str) -> list[ShownCommand]:
    """Those of the `console` blocks, in order; a command that goes on behind a backslash is one."""
    found: list[ShownCommand] = []
    for block in re.findall(r"^```console\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        for line in block.replace("\\\n", " ").splitlines():
            if line.startswith("$ "):
                found.append(ShownCommand(line.removeprefix("$ "), []))
            else:
                found[-1].shown.append(line)
    return found


def section(text: str, heading: str) -> str:
    """The part of a page below a heading of the second level."""
    return text.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]


class Reader:
    """Somebody who types what a page shows into a shell, in a folder of their own, and compares.

    Ids on a page stand for those of this run: the first time one is shown it is learned, from then on it is that one.
    `places` are other words of the page with what they are here.
    """

    def __init__(self, folder: Path, data: Path, port: int, places: dict[str, str] | None = None) -> None:
        self._folder = folder
        self._places = {SHOWN_ADDRESS: f"127.0.0.1:{port}", **(places or {})}
        self._ids: dict[str, str] = {}
        programs = folder / "programs"
        programs.mkdir(parents=True)
        for name, words in (("perplex-mono", "-m perplex_mono"), ("python", "")):
            program = programs / name
            program.write_text(f'#!/bin/sh\nexec "{sys.executable}" {words} "$@"\n')
            program.chmod(0o700)
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("PERPLEX_")},
            "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
            "PERPLEX_DATA__DIRECTORY": str(data),
            "PERPLEX_SERVER__PORT": str(port),
            "PERPLEX_LIMITS__DISK_RESERVE_BYTES": "1000000",
            "PERPLEX_LIMITS__DISK_RESERVE_FRACTION": "0.0",
        }

    def read(self, text: str) -> None:
        """Save the programs of the text that begin with their name, and run its commands in turn."""
        for name, program in re.findall(r"^```python\n# (\w+\.py)\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
            (self._folder / name).write_text(self._here(program))
        commands = shown_commands(text)
        assert commands
        for command in commands:
            self.run(command)

    def run(self, shown: ShownCommand) -> None:
        """Type a command and require what is shown; one that shows a failure has to fail."""
        done = subprocess.run(
            ["/bin/sh", "-c", self._here(shown.command)],
            cwd=self._folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS,
            check=False,
        )
        said = done.stderr + done.stdout
        fails = any(_FAILED.match(line) for line in shown.shown)
        assert (done.returncode != 0) == fails, (shown.command, done.returncode, said)
        place = 0
        for line in shown.shown:
            for part in filter(None, line.split(LEFT_OUT)):
                found = re.compile(self._pattern(part)).search(said, place)
                assert found is not None, f"{shown.command}\nshows\n{part}\nwhere this was said:\n{said[place:]}"
                self._ids.update({name.replace("_", "-")[1:]: found[name] for name in found.groupdict()})
                place = found.end()

    def _here(self, text: str) -> str:
        for word, place in {**self._places, **self._ids}.items():
            text = text.replace(word, place)
        return text

    def _pattern(self, part: str) -> str:
        """A part of a shown line as a pattern: ids that are not known yet match any, the same ones the same."""
        pattern, new = "", set[str]()
        for piece in re.split(f"({UUID})", self._here(part)):
            name = "i" + piece.replace("-", "_")
            if not re.fullmatch(UUID, piece) or piece in self._ids.values():
                pattern += re.escape(piece)
            elif name in new:
                pattern += f"(?P={name})"
            else:
                new.add(name)
                pattern += f"(?P<{name}>{UUID})"
        return pattern
