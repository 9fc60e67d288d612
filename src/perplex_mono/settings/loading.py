"""Reads `config.toml`, lays the environment over it, and checks everything."""

import difflib
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import msgspec

from perplex_mono.errors import ConfigurationError
from perplex_mono.settings.consistency import require_consistent
from perplex_mono.settings.environment import settings_in
from perplex_mono.settings.live import value_of
from perplex_mono.settings.schema import Settings, secret_names, setting_names, setting_type
from perplex_mono.text_languages import text_language

Source = Literal["default", "file", "environment", "override"]
"""Who set a setting, each above the ones before it."""


class Configuration(msgspec.Struct, frozen=True):
    """What file and environment say, before it is typed: values and sources by `section.key`, only of what is given."""

    values: Mapping[str, Any]
    sources: Mapping[str, Source]

    def __repr__(self) -> str:
        """Without the values, some of which may be secrets."""
        return f"Configuration({', '.join(self.values)})"

    def settings(self) -> Settings:
        """The settings. Raises `ConfigurationError` that names the value that cannot work."""
        return _checked({}, self.values)


def load_settings(config_file: Path | None = None, environment: Mapping[str, str] | None = None) -> Settings:
    """The settings of `load_configuration`. Raises `ConfigurationError` that also names the nearest right key."""
    return load_configuration(config_file, environment).settings()


def load_configuration(config_file: Path | None = None, environment: Mapping[str, str] | None = None) -> Configuration:
    """Read the file and lay the environment (the process's own by default) over it.

    `config_file` None means `config.toml` in the working folder when it exists. Raises `ConfigurationError` that names
    the wrong key and the nearest right one.
    """
    environment = os.environ if environment is None else environment
    values = _read_file(config_file)
    sources: dict[str, Source] = dict.fromkeys(values, "file")
    for variable, name, text in settings_in(environment, setting_names(), secret_names()):
        values[name] = parsed(name, text, variable)
        sources[name] = "environment"
    return Configuration(values, sources)


def with_environment(settings: Settings, environment: Mapping[str, str]) -> Settings:
    """The settings with what the environment says above them. Raises `ConfigurationError`."""
    given = settings_in(environment, setting_names(), secret_names())
    return with_overrides(settings, {name: parsed(name, text, variable) for variable, name, text in given})


def with_overrides(settings: Settings, overrides: Mapping[str, Any]) -> Settings:
    """The settings with other values by `section.key`, checked as those of the file are."""
    return _checked(msgspec.to_builtins(settings), overrides)


def sources_of(settings: Settings) -> dict[str, Source]:
    """The sources of settings that were made by hand: what is no default counts as given by a file."""
    defaults = Settings()
    return {name: "file" for name in setting_names() if value_of(settings, name) != value_of(defaults, name)}


def require_known(name: str, where: str = "") -> None:
    """Raise `ConfigurationError` with the nearest right name unless `name` is a setting; `where` it was found."""
    names = setting_names()
    if name not in names:
        near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
        hint = f" Did you mean '{near[0]}'?" if near else " `perplex-mono settings` lists all."
        raise ConfigurationError(f"Unknown setting '{name}'{where and f' in {where}'}.{hint}")


def _checked(tree: dict[str, dict[str, Any]], values: Mapping[str, Any]) -> Settings:
    """The settings of a tree of sections with `values` by `section.key` in it."""
    for name, value in values.items():
        section, _, key = name.partition(".")
        tree.setdefault(section, {})[key] = value
    try:
        settings = msgspec.convert(tree, Settings, strict=False)
    except msgspec.ValidationError as error:
        raise ConfigurationError(f"Setting has a value that cannot work: {_told(str(error))}") from error
    require_consistent(settings)
    search = msgspec.structs.replace(settings.search, language=text_language(settings.search.language))
    return msgspec.structs.replace(settings, search=search)


def separator(name: str) -> str:
    """Paths are separated as in PATH; host names and origins, which may hold a colon, by commas."""
    return os.pathsep if name.startswith("sources.") else ","


def parsed(name: str, text: str, where: str) -> str | list[str]:
    """The value of `section.key` that somebody wrote as text; `where` names the place if it is written wrong."""
    return _split(where, text, separator(name)) if get_origin(setting_type(name)) is list else text


def _split(variable: str, value: str, between: str) -> list[str]:
    if value.lstrip().startswith("["):
        parts = ("/srv/papers", "/srv/contracts") if between == os.pathsep else ("docs.example.com", "docs")
        raise ConfigurationError(
            f"{variable} is '{value}', but lists in the environment are written without brackets and quotes,"
            f" separated by '{between}': {variable}={between.join(parts)}"
        )
    return [part.strip() for part in value.split(between) if part.strip()]


def _read_file(config_file: Path | None) -> dict[str, Any]:
    """Values by `section.key`."""
    path = config_file or Path("config.toml")
    if not path.is_file():
        if config_file is not None:
            raise ConfigurationError(f"There is no configuration file at '{path}'.")
        return {}
    try:
        tree = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"'{path}' is not valid TOML: {error}") from error
    values: dict[str, Any] = {}
    for section, table in tree.items():
        if not isinstance(table, dict):
            raise ConfigurationError(
                f"'{section}' in '{path}' stands outside a section; settings look like server.port."
            )
        for key, value in table.items():
            require_known(f"{section}.{key}", f"'{path}'")
            values[f"{section}.{key}"] = value
    return values


def _told(message: str) -> str:
    """What msgspec says, with the setting's name, and for a choice the values there are and the nearest of them."""
    said, _, path = message.removesuffix("`").partition(" - at `$.")
    if not path:
        return message
    told, name = f"{said} (setting `{path}`)", path.partition("[")[0]
    choices = get_args(setting_type(name)) if get_origin(setting_type(name)) is Literal else ()
    if not choices:
        return told
    near = difflib.get_close_matches(said.partition("'")[2].rstrip("'"), choices, n=1, cutoff=0.5)
    hint = f" Did you mean '{near[0]}'?" if near else ""
    return f"{told}; it can be {', '.join(choices[:-1])} or {choices[-1]}.{hint}"
