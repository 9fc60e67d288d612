"""`perplex-mono settings`: each setting, its value, and who set it."""

import os
import tomllib
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from perplex_mono.cli.invocation import Invocation
from perplex_mono.cli.plain_text import one_line
from perplex_mono.cli.terminal import results, write_json
from perplex_mono.settings import Settings, setting_names, variable_name

DEFAULT_FILE = Path("config.toml")


class SettingView(msgspec.Struct, frozen=True):
    """A setting. `source` is default, file or environment; `variable` is the environment variable that sets it."""

    name: str
    value: Any
    source: Literal["default", "file", "environment"]
    variable: str


def show_settings(invocation: Invocation, *, as_json: bool) -> None:
    """Print all settings on standard output."""
    views = describe_settings(invocation.settings(), invocation.config_file or DEFAULT_FILE, set(os.environ))
    if as_json:
        write_json({"items": views})
    else:
        _show_table(views, results())


def describe_settings(settings: Settings, file: Path, variables: set[str]) -> list[SettingView]:
    """Every setting in the order of `config.toml`; `settings` was loaded from `file` and these variables."""
    in_file = tomllib.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    given = {variable.upper() for variable in variables}
    views = []
    for name in setting_names():
        section, _, key = name.partition(".")
        source: Literal["default", "file", "environment"] = "file" if key in in_file.get(section, {}) else "default"
        if variable_name(name) in given:
            source = "environment"
        value = getattr(getattr(settings, section), key)
        views.append(SettingView(name, _without_password(value), source, variable_name(name)))
    return views


def _show_table(views: list[SettingView], console: Console) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("Setting", no_wrap=True)
    table.add_column("Value", overflow="fold")
    table.add_column("From", no_wrap=True)
    table.add_column("Variable", no_wrap=True)
    for view in views:
        style = "" if view.source == "default" else "bold"
        value = one_line(as_text(view.value))
        table.add_row(view.name, Text(value, style=style), Text(view.source, style=style), view.variable)
    console.print(table)


def as_text(value: Any) -> str:
    """The value as JSON; a list as its environment variable takes it."""
    return os.pathsep.join(value) if isinstance(value, tuple | list) else msgspec.json.encode(value).decode()


def _without_password(value: Any) -> Any:
    """The value; in an address, its password replaced."""
    if not isinstance(value, str) or "@" not in value or "://" not in value:
        return value
    password = urlsplit(value).password
    return value.replace(f":{password}@", ":[redacted]@") if password else value
