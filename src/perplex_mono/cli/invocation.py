"""What every command is given: where the settings come from, and how its asynchronous part is run."""

import asyncio
import os
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from perplex_mono.settings import Configuration, Settings, load_configuration, variable_name

EXIT_USAGE = 2
EXIT_INTERRUPTED = 130


@dataclass(frozen=True)
class Invocation:
    """The global options of one run of the command line."""

    config_file: Path | None

    def settings(self, overrides: Mapping[str, str | None] | None = None) -> Settings:
        """The settings, with `overrides` (`section.key` to text) above file and environment; None is no override.

        Raises `ConfigurationError`.
        """
        return self.configuration(overrides).settings()

    def configuration(self, overrides: Mapping[str, str | None] | None = None) -> Configuration:
        """What the settings are made of, as `settings` does. Raises `ConfigurationError`."""
        given = {name: value for name, value in (overrides or {}).items() if value is not None}
        variables = {variable_name(name): value for name, value in given.items()}
        environment = {name: value for name, value in os.environ.items() if name.upper() not in variables}
        return load_configuration(self.config_file, {**environment, **variables})

    @staticmethod
    def absolute(path: str) -> str:
        """The path from the root, as this machine understands it; a server elsewhere may have another at that place."""
        return str(Path(os.path.normpath(Path(path).expanduser().absolute())))

    @staticmethod
    def run(command: Coroutine[Any, Any, int]) -> int:
        """Run the command to its end; its exit code. Raises `KeyboardInterrupt` after a clean end on Ctrl-C."""
        return asyncio.run(command)
