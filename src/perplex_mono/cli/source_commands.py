"""The commands for folders that a collection follows."""

import click

from perplex_mono.cli.invocation import Invocation
from perplex_mono.cli.options import exit_with, json_option, server_option

collection_option = click.option(
    "--collection", "-c", default="default", show_default=True, metavar="NAME_OR_ID", help="Which collection."
)


@click.group(short_help="Follow folders: list, add, scan, remove.")
def sources() -> None:
    """Folders whose documents a collection follows: new, edited, renamed and removed files.

    Folders are those of the server's machine, and only below the setting sources.roots. A running server watches them;
    `scan` makes up for it where none runs.

    \b
    Examples:
      perplex-mono sources add /srv/papers
      perplex-mono sources list
      perplex-mono sources scan /srv/papers
    """


@sources.command("list", short_help="List the folders.")
@collection_option
@server_option
@json_option
@click.pass_obj
def list_(invocation: Invocation, collection: str, server: str | None, as_json: bool) -> None:
    """List the folders that a collection follows.

    State is that of the last scan: ok, waiting, scanning, or why it failed.
    With --json: the items of GET /api/v1/collections/{id}/sources, all of them.

    \b
    Examples:
      perplex-mono sources list
      perplex-mono sources list -c contracts --json
    """
    from perplex_mono.cli.sources import list_sources

    exit_with(invocation.run(list_sources(invocation.settings(), server, collection, as_json=as_json)))


@sources.command("add", short_help="Follow a folder.")
@click.argument("folder")
@click.option("--include", multiple=True, metavar="GLOB", help="Only such files, as '*.pdf'; may be repeated.")
@click.option("--exclude", multiple=True, metavar="GLOB", help="Not these, as 'drafts/**'; may be repeated.")
@click.option("--recursive/--no-recursive", default=True, show_default=True, help="Whether folders below count too.")
@click.option("--watch/--no-watch", default=True, show_default=True, help="Whether a running server watches it.")
@click.option("--no-wait", is_flag=True, help="Only add it; scan it later.")
@collection_option
@server_option
@json_option
@click.pass_obj
def add(
    invocation: Invocation,
    folder: str,
    include: tuple[str, ...],
    exclude: tuple[str, ...],
    recursive: bool,
    watch: bool,
    no_wait: bool,
    collection: str,
    server: str | None,
    as_json: bool,
) -> None:
    """Follow FOLDER, and scan it until all its documents can be searched.

    With --json: the source, then one event a line.

    \b
    Examples:
      perplex-mono sources add /srv/papers
      perplex-mono sources add ~/Scans --include '*.pdf' --exclude 'private/**'
    """
    from perplex_mono.cli.sources import add_source
    from perplex_mono.sources.schemas import NewSource

    path = invocation.absolute(folder)
    new = NewSource(directory=path, include=list(include), exclude=list(exclude), recursive=recursive, watch=watch)
    command = add_source(invocation.settings(), server, collection, new, is_waiting=not no_wait, as_json=as_json)
    exit_with(invocation.run(command))


@sources.command("scan", short_help="Scan a folder now.")
@click.argument("source", metavar="FOLDER_OR_ID")
@collection_option
@server_option
@json_option
@click.pass_obj
def scan(invocation: Invocation, source: str, collection: str, server: str | None, as_json: bool) -> None:
    """Scan a followed folder, and follow the scan and what it finds to the end.

    Exit code 0 when the whole folder was seen and every new document is ready. With --json: one event a line.

    \b
    Examples:
      perplex-mono sources scan /srv/papers
    """
    from perplex_mono.cli.sources import scan_source

    key = (source, invocation.absolute(source))
    exit_with(invocation.run(scan_source(invocation.settings(), server, collection, key, as_json=as_json)))


@sources.command("remove", short_help="Stop following a folder.")
@click.argument("source", metavar="FOLDER_OR_ID")
@collection_option
@server_option
@json_option
@click.pass_obj
def remove(invocation: Invocation, source: str, collection: str, server: str | None, as_json: bool) -> None:
    """Stop following a folder and delete the documents made from it. The folder and its files are never touched.

    With --json: one event a line.

    \b
    Examples:
      perplex-mono sources remove /srv/papers
    """
    from perplex_mono.cli.sources import remove_source

    key = (source, invocation.absolute(source))
    exit_with(invocation.run(remove_source(invocation.settings(), server, collection, key, as_json=as_json)))
