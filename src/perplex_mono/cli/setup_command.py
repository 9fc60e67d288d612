"""The command that asks a few questions and writes the configuration file."""

from pathlib import Path
from typing import Any

import click

from perplex_mono.cli.invocation import Invocation
from perplex_mono.cli.options import exit_with, json_option

DEVICES = ("auto", "cuda", "mps", "cpu")


@click.command(short_help="Ask a few questions, look at this machine, write config.toml.")
@click.option("--data", metavar="DIR", help="The folder that holds everything.  [setting: data.directory]")
@click.option("--host", metavar="ADDRESS", help="The address to listen on.  [setting: server.host]")
@click.option("--port", type=click.IntRange(1, 65535), help="The port to listen on.  [setting: server.port]")
@click.option(
    "--allowed-host", "allowed_hosts", multiple=True, metavar="NAME", help="A name it is reached by; may be repeated."
)
@click.option(
    "--folder", "folders", multiple=True, metavar="DIR", help="A folder that may be followed; may be repeated."
)
@click.option("--device", type=click.Choice(DEVICES), help="What computes.  [setting: embedding.device]")
@click.option("--user", "user_name", metavar="NAME", help="Make this first user, an administrator, as well.")
@click.option("--password-file", metavar="FILE", help="Its password, '-' for standard input.  [default: ask]")
@click.option(
    "--output", "-o", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="[default: config.toml]"
)
@click.option("--yes", is_flag=True, help="Ask nothing: what no option says stays as it is, or has its default.")
@click.option("--replace", is_flag=True, help="Write a file that is there already anew; a copy of it is kept.")
@json_option
@click.pass_obj
def setup(
    invocation: Invocation,
    data: str | None,
    host: str | None,
    port: int | None,
    allowed_hosts: tuple[str, ...],
    folders: tuple[str, ...],
    device: str | None,
    user_name: str | None,
    password_file: str | None,
    output: Path | None,
    yes: bool,
    replace: bool,
    as_json: bool,
) -> None:
    """Ask the few questions that matter, look whether this machine can do it, and write config.toml.

    Only what differs from the defaults is written, each line with what it is. A file that is there is not touched
    without being asked for; its values are what is proposed.

    Exit code: 0 when the file is written, 1 when something cannot work or you said no, 2 for a wrong option or value.

    \b
    With --json (which needs --yes), one object:
      file, is_written, kept (where the earlier file is), settings
      checks      name, status (ok, warning, error) and message of each
      user        the name of the user that was made
      next_steps  what to do now

    \b
    Examples:
      perplex-mono setup
      perplex-mono setup --yes --data /srv/perplex --folder /srv/papers
      perplex-mono setup --yes --host 0.0.0.0 --allowed-host docs.example.com --user ada --password-file secret.txt
    """
    from perplex_mono.accounts.passwords import require_good
    from perplex_mono.accounts.schemas import FirstUser
    from perplex_mono.cli.accounts import read_password
    from perplex_mono.cli.setup import Setup

    if password_file and not user_name:
        raise click.UsageError("--password-file is the password of --user, which names nobody.")
    if as_json and not yes:
        raise click.UsageError("--json asks nothing, so it needs --yes.")
    given: dict[str, Any] = {
        "data.directory": data,
        "server.host": host,
        "server.port": port,
        "server.allowed_hosts": list(allowed_hosts) or None,
        "sources.roots": [invocation.absolute(folder) for folder in folders] or None,
        "embedding.device": device,
    }
    file = output or invocation.config_file or Path("config.toml")
    answers = {name: value for name, value in given.items() if value is not None}
    first = FirstUser(name=user_name, password=read_password(password_file)) if user_name else None
    if first:
        require_good(first.password, first.name)
    exit_with(Setup(file, answers, first, is_asking=not yes, is_replacing=replace, as_json=as_json).run())
