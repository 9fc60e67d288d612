"""Options that several commands share, and how a command ends."""

from collections.abc import Callable
from typing import Any

import click

server_option = click.option(
    "--server",
    metavar="URL",
    help="Use the server at this address only.  [default: the one of the settings if it runs, else the data directory]",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for programs, and nothing else.")


def collections_option(purpose: str) -> Callable[[Any], Any]:
    """Collections by name or id, `purpose` saying what for."""
    return click.option(
        "--collection",
        "-c",
        "collections",
        multiple=True,
        metavar="NAME_OR_ID",
        help=f"A collection to {purpose}; may be repeated.  [default: default]",
    )


def exit_with(code: int) -> None:
    """End the command with this exit code."""
    click.get_current_context().exit(code)
