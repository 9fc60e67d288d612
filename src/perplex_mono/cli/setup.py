"""`perplex-mono setup`: asks what matters, looks whether it can work, writes `config.toml`."""

import asyncio
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import click
import msgspec
from rich.table import Table

from perplex_mono.accounts.schemas import FirstUser
from perplex_mono.cli.accounts import read_password
from perplex_mono.cli.backend import open_backend
from perplex_mono.cli.invocation import Invocation
from perplex_mono.cli.plain_text import one_line
from perplex_mono.cli.setup_checks import Check, run_checks
from perplex_mono.cli.terminal import notices, results, write_json
from perplex_mono.errors import ConfigurationError, InvalidInput, PerplexError
from perplex_mono.settings import Settings, load_configuration
from perplex_mono.settings.live import value_of
from perplex_mono.settings.loading import separator, with_environment, with_overrides
from perplex_mono.settings.schema import setting_type
from perplex_mono.settings.writing import write_config
from perplex_mono.storage.data_directory import DataDirectory
from perplex_mono.web.guard import is_loopback

LOOPBACK = "127.0.0.1"
EVERYWHERE = "0.0.0.0"  # noqa: S104  # asked for
EXIT_NOT_WRITTEN = 1
LATER = "-"


class SetupReport(msgspec.Struct, frozen=True):
    """What `--json` prints. `kept` is where the file that was there is now, `user` the one that was made."""

    file: str
    is_written: bool
    kept: str | None
    settings: dict[str, Any]
    checks: list[Check]
    user: str | None
    next_steps: list[str]


class Setup:
    """One run of the set-up. `given` are answers from options, by `section.key`, asked for only if they cannot work."""

    def __init__(
        self,
        file: Path,
        given: dict[str, Any],
        first: FirstUser | None,
        *,
        is_asking: bool,
        is_replacing: bool,
        as_json: bool,
    ) -> None:
        self._file = file
        self._given = given
        self._first = first
        self._is_asking = is_asking
        self._is_replacing = is_replacing
        self._as_json = as_json

    def run(self) -> int:
        """Exit code 0 when the file is written, 1 when not. Raises `PerplexError` kinds and `click.Abort`."""
        try:
            return self._run()
        except click.Abort:
            if sys.stdin.isatty():
                raise
            raise InvalidInput("The answers ended before the questions did; --yes asks nothing.") from None

    def _run(self) -> int:
        existing = load_configuration(self._file, {}).settings() if self._file.is_file() else Settings()
        if not self._may_write():
            return EXIT_NOT_WRITTEN
        answers, settled = dict(self._given), self._given
        while True:
            if self._is_asking:
                answers |= self._ask(with_overrides(existing, answers), settled)
            settings = with_overrides(existing, answers)
            notices().print("Looking at this machine ...")
            checks = run_checks(settings, os.environ)
            can_work = all(check.status != "error" for check in checks)
            self._show(settings, answers, checks)
            if can_work and (not self._is_asking or _confirm(f"Write {self._file}?", default=True)):
                return self._write(settings, checks)
            if not self._is_asking or not _confirm("Answer again?", default=not can_work):
                self._tell(settings, checks, is_written=False)
                return EXIT_NOT_WRITTEN
            settled = {}

    def _may_write(self) -> bool:
        if not self._file.is_file() or self._is_replacing:
            return True
        told = f"{self._file} is there already."
        if not self._is_asking:
            raise InvalidInput(f"{told} --replace writes it anew, with what it says but for your answers.")
        return _confirm(f"{told} Change it? (Its values are proposed, a copy is kept.)", default=False)

    def _ask(self, proposed: Settings, settled: dict[str, Any]) -> dict[str, Any]:
        """The answers to what is not settled; what is typed is checked, and asked for again if it cannot be."""
        asked = _Questions(proposed, settled)
        asked.ask("data.directory", "Where shall everything be stored?")
        asked.ask_who()
        asked.ask("server.port", "On which port?", type=click.IntRange(1, 65535))
        asked.ask_list("sources.roots", "Folders that may be followed", "none")
        devices = get_args(setting_type("embedding.device"))
        asked.ask("embedding.device", "What shall compute?", type=click.Choice(devices))
        return asked.answers

    def _show(self, settings: Settings, answers: dict[str, Any], checks: list[Check]) -> None:
        if self._as_json:
            return
        table = Table(box=None, pad_edge=False, header_style="bold")
        for heading in ("Setting", "Value"):
            table.add_column(heading, overflow="fold")
        for name in sorted(answers):
            value = value_of(settings, name)
            table.add_row(name, one_line(", ".join(value) or "none" if isinstance(value, list) else str(value)))
        results().print(table)
        found = Table(box=None, pad_edge=False, header_style="bold")
        for heading in ("Check", "Result", "What was found"):
            found.add_column(heading, overflow="fold")
        for check in checks:
            found.add_row(check.name, check.status, one_line(check.message))
        results().print(found)

    def _write(self, settings: Settings, checks: list[Check]) -> int:
        kept = write_config(self._file, _values(settings))
        holding = with_environment(settings, os.environ)
        first = self._first or (self._ask_first_user(holding) if self._is_asking else None)
        try:
            user = asyncio.run(_make_user(holding, first)) if first else None
        except PerplexError:
            notices().print(f"{self._file} is written, but no user was made.", markup=False)
            raise
        self._tell(holding, checks, is_written=True, kept=kept, user=user)
        return 0

    def _ask_first_user(self, settings: Settings) -> FirstUser | None:
        """Only where a server would start closed: it listens beyond this machine, and nothing is stored yet."""
        if is_loopback(settings.server.host) or DataDirectory(settings.data_directory).database.is_file():
            return None
        name = click.prompt(f"Name of the first user, an administrator ('{LATER}' for later)", default=LATER, err=True)
        return None if name == LATER else FirstUser(name=name, password=read_password(None))

    def _tell(
        self,
        settings: Settings,
        checks: list[Check],
        *,
        is_written: bool,
        kept: Path | None = None,
        user: str | None = None,
    ) -> None:
        names = [*self._given, "data.directory", "server.host", "server.port", "sources.roots", "embedding.device"]
        steps = _next_steps(settings, self._file, user) if is_written else []
        shown = {name: value_of(settings, name) for name in dict.fromkeys(names)}
        kept_at = str(kept) if kept else None
        if self._as_json:
            write_json(SetupReport(str(self._file), is_written, kept_at, shown, checks, user, steps))
            return
        console = results()
        console.print(f"Written: {self._file}" if is_written else "Nothing was written.", markup=False)
        if kept_at:
            console.print(f"What was there is in {kept_at}", markup=False)
        if user:
            console.print(f"Made: the administrator {one_line(user)}", markup=False)
        for step in steps:
            console.print(f"Next: {step}", markup=False, soft_wrap=True)


class _Questions:
    """Asks on standard error and collects the answers; Enter takes what is proposed."""

    def __init__(self, proposed: Settings, settled: dict[str, Any]) -> None:
        self._proposed = proposed
        self._settled = settled
        self.answers: dict[str, Any] = {}

    def ask(self, name: str, question: str, *, type: Any = str, default: Any = None) -> None:  # noqa: A002  # click's
        """Ask for one value."""
        proposed = value_of(self._proposed, name) if default is None else default
        self._take(name, lambda: click.prompt(question, default=proposed, type=type, err=True))

    def ask_list(self, name: str, question: str, otherwise: str) -> None:
        """Ask for several values in one line; `otherwise` says what there is without any."""
        present: Any = value_of(self._proposed, name)
        between = separator(name)
        asked = f"{question}, '{between}' between them, '-' for {otherwise}"

        def read() -> list[str]:
            text: str = click.prompt(asked, default=between.join(present) or "-", err=True)
            parts = [part.strip() for part in text.split(between) if part.strip() not in ("", "-")]
            return [Invocation.absolute(part) for part in parts] if name == "sources.roots" else parts

        self._take(name, read)

    def ask_who(self) -> None:
        """Ask who shall use the server: that decides where it listens, and which names it has."""
        if "server.host" in self._settled:
            return
        host = self._proposed.server.host
        others = click.prompt(
            "Who shall use it: only this machine, or others too?",
            type=click.Choice(("me", "others")),
            default="me" if is_loopback(host) else "others",
            err=True,
        )
        if others == "me":
            self.answers["server.host"] = host if is_loopback(host) else LOOPBACK
            return
        self.ask("server.host", "On which address shall it listen?", default=EVERYWHERE if is_loopback(host) else host)
        self.ask_list("server.allowed_hosts", "Names it is reached by", "addresses only")

    def _take(self, name: str, read: Callable[[], Any]) -> None:
        while name not in self._settled:
            answer = read()
            try:
                with_overrides(self._proposed, {**self.answers, name: answer})
            except ConfigurationError as error:
                notices().print(str(error), markup=False)
            else:
                self.answers[name] = answer
                return


def _values(settings: Settings) -> dict[str, Any]:
    tree = msgspec.to_builtins(settings)
    return {f"{section}.{key}": value for section, table in tree.items() for key, value in table.items()}


async def _make_user(settings: Settings, first: FirstUser) -> str:
    """The name of the first user, who is made in the data directory."""
    async with open_backend(settings, None) as backend:
        return (await backend.accounts.set_up(first)).name


def _next_steps(settings: Settings, file: Path, user: str | None) -> list[str]:
    command = "perplex-mono" if file == Path("config.toml") else f"perplex-mono --config {file}"
    steps = [f"{command} serve"]
    if user is None and not is_loopback(settings.server.host):
        steps.insert(0, f"{command} user setup NAME (the first user; without one the server starts closed)")
    if settings.sources.roots:
        steps.append(f"{command} sources add {settings.sources.roots[0]}")
    return steps


def _confirm(question: str, *, default: bool) -> bool:
    return click.confirm(question, default=default, err=True)
