"""`perplex-mono settings`: each setting, its value, and who set it; and how one is changed."""

import asyncio
import json
import os
from collections.abc import Mapping, Sequence
from contextlib import aclosing, suppress
from typing import Any

from msgspec import UNSET
from rich.console import Console
from rich.table import Table
from rich.text import Text

from perplex_mono.cli.invocation import Invocation
from perplex_mono.cli.plain_text import one_line
from perplex_mono.cli.terminal import notices, results, write_json
from perplex_mono.configuration.schemas import SettingList, SettingView, setting_view
from perplex_mono.errors import InvalidInput
from perplex_mono.settings import Configuration, LoggingSettings, Settings, setting_names
from perplex_mono.settings.live import value_of
from perplex_mono.settings.loading import Source, parsed, separator, with_overrides
from perplex_mono.storage.data_directory import DataDirectory
from perplex_mono.telemetry.logs import configure_logging

ADDRESS = "command line"


def show_settings(invocation: Invocation, *, as_json: bool) -> None:
    """Print all settings on standard output."""
    configuration = invocation.configuration()
    settings = configuration.settings()
    _print(describe_settings(settings, configuration.sources, _overrides(settings)), as_json=as_json)


def describe_settings(
    settings: Settings, sources: Mapping[str, Source], overrides: Mapping[str, Any]
) -> list[SettingView]:
    """Every setting as the next start finds it, in the order of `config.toml`."""
    wanted = with_overrides(settings, overrides)
    return [
        setting_view(name, value_of(wanted, name), "override" if name in overrides else sources.get(name, "default"))
        for name in setting_names()
    ]


async def show_server_settings(server: str, *, as_json: bool) -> int:
    """Print the settings that a server holds now; exit code."""
    from perplex_mono.cli.backend import api_key, checked_address
    from perplex_mono.cli.server_connection import ServerConnection

    async with aclosing(ServerConnection(checked_address(server), api_key(os.environ))) as connection:
        found = await connection.get("/settings", SettingList)
    _print(found.items, as_json=as_json)
    return 0


async def change_settings(
    invocation: Invocation, server: str | None, given: Sequence[str], removed: Sequence[str], *, as_json: bool
) -> int:
    """Change settings, `name=value` each, and take changes back, by the server or in the data directory; exit code."""
    configuration, changes = invocation.configuration(), _changes(given, removed)
    changed = await _change(configuration, server, changes)
    if as_json:
        write_json(changed)
        return 0
    _print([view for view in changed.items if view.name in changes], as_json=False)
    waiting = [view.name for view in changed.items if view.name in changes and view.takes_effect == "next_start"]
    if waiting:
        notices().print(f"From the next start on: {', '.join(waiting)}", markup=False)
    return 0


def as_text(name: str, value: Any) -> str:
    """The value of `section.key` as JSON; a list as its environment variable takes it."""
    return separator(name).join(value) if isinstance(value, tuple | list) else json.dumps(value, ensure_ascii=False)


async def _change(configuration: Configuration, server: str | None, changes: Mapping[str, Any]) -> SettingList:
    from perplex_mono.cli.backend import api_key, checked_address, server_address
    from perplex_mono.cli.server_connection import ServerConnection, is_running

    address = checked_address(server) if server else server_address(configuration.settings())
    if server or await is_running(address):
        async with aclosing(ServerConnection(address, api_key(os.environ))) as connection:
            return await connection.call("PATCH", "/settings", SettingList, json=dict(changes))
    return await _change_stored(configuration, changes)


async def _change_stored(configuration: Configuration, changes: Mapping[str, Any]) -> SettingList:
    """Without a server: only the database is opened, for a setting may be what keeps the rest from opening."""
    from perplex_mono.configuration.service import SettingsService
    from perplex_mono.storage.database import Database
    from perplex_mono.web.callers import LOCAL_CALLER

    configure_logging(LoggingSettings(level="WARNING", format="text"))
    settings = configuration.settings()
    directory = DataDirectory(settings.data_directory).open()
    database = Database(directory.database)
    try:
        await database.migrate()
        service = await SettingsService.open(database, settings, configuration.sources, _require_workable)
        return await service.change(changes, LOCAL_CALLER, address=ADDRESS)
    finally:
        await database.close()
        directory.close()


def _require_workable(settings: Settings) -> None:
    from perplex_mono.container.inference import require_workable  # everything there is, and only what is set needs it

    require_workable(settings)


def _changes(given: Sequence[str], removed: Sequence[str]) -> dict[str, Any]:
    changes: dict[str, Any] = dict.fromkeys(removed)
    for text in given:
        name, equals, value = text.partition("=")
        if not equals:
            raise InvalidInput(f"'{text}' is no change; write NAME=VALUE, like search.rrf_k=20.")
        changes[name] = parsed(name, value, name) if name in setting_names() else value
    return changes


def _overrides(settings: Settings) -> dict[str, Any]:
    """What was changed at run time, where there is a data directory and it can be read."""
    path = DataDirectory(settings.data_directory).database
    if not path.is_file():
        return {}
    configure_logging(LoggingSettings(level="WARNING", format="text"))
    from sqlalchemy.exc import SQLAlchemyError

    from perplex_mono.configuration.service import held_overrides
    from perplex_mono.storage.database import Database

    async def read() -> dict[str, Any]:
        database = Database(path)
        try:
            return await held_overrides(settings, database)
        finally:
            with suppress(SQLAlchemyError):
                await database.close()

    try:
        return asyncio.run(read())
    except SQLAlchemyError as error:
        cause = getattr(error, "orig", None) or error
        notices().print(f"What was changed at run time cannot be read from {path}: {cause}", markup=False)
        return {}


def _print(views: list[SettingView], *, as_json: bool) -> None:
    if as_json:
        write_json({"items": views})
    else:
        _show_table(views, results())


def _show_table(views: list[SettingView], console: Console) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("Setting", no_wrap=True)
    table.add_column("Value", overflow="fold")
    table.add_column("From", no_wrap=True)
    table.add_column("Variable", no_wrap=True)
    for view in views:
        style = "" if view.source == "default" else "bold"
        value = as_text(view.name, view.value)
        if view.next_value is not UNSET:
            value = f"{value} -> {as_text(view.name, view.next_value)}"
        value = one_line(value)
        table.add_row(view.name, Text(value, style=style), Text(view.source, style=style), view.variable)
    console.print(table)
