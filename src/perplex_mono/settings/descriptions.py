"""What each setting is, in the words of `config.toml`: the one place where settings are described."""

import re
import tomllib
from functools import cache
from pathlib import Path

import perplex_mono

_SECTION = re.compile(r"\[(\w+)\]")
_KEY = re.compile(r"(\w+) = [^#]*#\s*(.+)")


@cache
def descriptions() -> dict[str, str]:
    """A line on each setting by `section.key`."""
    found, section = dict[str, str](), ""
    for line in _text().splitlines():
        if heading := _SECTION.fullmatch(line.strip()):
            section = heading[1]
        elif key := _KEY.fullmatch(line.strip()):
            found[f"{section}.{key[1]}"] = key[2]
    return found


@cache
def defaults() -> dict[str, object]:
    """The default of each setting by `section.key`."""
    tree = tomllib.loads(_text())
    return {f"{section}.{key}": value for section, table in tree.items() for key, value in table.items()}


def _text() -> str:
    """The `config.toml` of this installation, inside the package or at the root of a checkout."""
    package = Path(perplex_mono.__file__).parent
    packaged = package / "_config.toml"
    return (packaged if packaged.is_file() else package.parents[1] / "config.toml").read_text(encoding="utf-8")
