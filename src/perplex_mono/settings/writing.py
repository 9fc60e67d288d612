"""Writes a `config.toml` that holds only what differs from the defaults, each line with what it is."""

import json
import os
import tempfile
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from perplex_mono.errors import ConfigurationError
from perplex_mono.settings.descriptions import defaults, descriptions
from perplex_mono.settings.loading import load_settings
from perplex_mono.settings.schema import secret_names, setting_names

HEADER = """\
# Settings of perplex-mono; what is not here has its default. `perplex-mono settings` shows all of them.
# The environment wins over this file: server.port is PERPLEX_SERVER__PORT. What was changed while the server ran
# wins over both; `perplex-mono settings` tells where each value comes from.
"""
READABLE_BY_ALL = 0o644
READABLE_BY_OWNER = 0o600


def config_text(values: Mapping[str, Any]) -> str:
    """The file with these values by `section.key`, in the order of the settings; defaults are left out."""
    parts, section = [HEADER], ""
    for name in setting_names():
        if name not in values or values[name] == defaults()[name]:
            continue
        heading, _, key = name.partition(".")
        if heading != section:
            parts.append(f"\n[{heading}]\n")
            section = heading
        parts.append(f"# {descriptions()[name]}\n{key} = {_toml(values[name])}\n")
    return "".join(parts)


def write_config(path: Path, values: Mapping[str, Any]) -> Path | None:
    """Put the file in place as a whole, or not at all; where the file that was there is kept, if there was one.

    Raises `ConfigurationError` for values that cannot work or cannot be written, and `OSError`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    beside = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(_encoded(values))
            file.flush()
            os.fsync(file.fileno())
        load_settings(beside, {})
        beside.chmod(_mode(path, values))
        kept = _keep(path)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
    return kept


def _keep(path: Path) -> Path | None:
    """A copy of the file that is about to be replaced, under a name that is free."""
    if not path.is_file():
        return None
    number = 0
    while True:
        kept = path.with_name(f"{path.name}.old{number or ''}")
        try:
            descriptor = os.open(kept, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, READABLE_BY_OWNER)
            with os.fdopen(descriptor, "wb") as copy:
                copy.write(path.read_bytes())
        except FileExistsError:
            number += 1
        else:
            kept.chmod(path.stat().st_mode & 0o777)
            return kept


def _mode(path: Path, values: Mapping[str, Any]) -> int:
    if path.is_file():
        return path.stat().st_mode & 0o777
    return READABLE_BY_OWNER if any(values.get(name) for name in secret_names()) else READABLE_BY_ALL


def _encoded(values: Mapping[str, Any]) -> bytes:
    text = config_text(values)
    try:
        tomllib.loads(text)
        return text.encode()
    except ValueError as error:
        raise ConfigurationError(f"A value cannot be written into a file: {error}") from error


def _toml(value: Any) -> str:
    """JSON's strings, numbers and lists are TOML's, but for one control character."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
