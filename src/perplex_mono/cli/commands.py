"""The commands: their names, options and help. What they do is imported when one runs, to keep `--help` quick."""

from pathlib import Path

import click

from perplex_mono.cli.account_commands import key, user
from perplex_mono.cli.backup_commands import backup, restore
from perplex_mono.cli.invocation import Invocation
from perplex_mono.cli.long_work_commands import operations, reindex
from perplex_mono.cli.options import collections_option, exit_with, json_option, server_option
from perplex_mono.cli.setup_command import setup
from perplex_mono.cli.source_commands import sources

SEARCH_MODES = ("hybrid", "dense", "sparse")


@click.command(short_help="Start the server.")
@click.option("--host", metavar="ADDRESS", help="The address to listen on.  [setting: server.host]")
@click.option("--port", type=click.IntRange(1, 65535), help="The port to listen on.  [setting: server.port]")
@click.option("--data", metavar="DIR", help="The folder that holds everything.  [setting: data.directory]")
@click.pass_obj
def serve(invocation: Invocation, host: str | None, port: int | None, data: str | None) -> None:
    """Start the server; Ctrl-C or SIGTERM stops it.

    \b
    Examples:
      perplex-mono serve
      perplex-mono serve --port 9000 --data /srv/perplex
    """
    configuration = invocation.configuration(
        {"server.host": host, "server.port": None if port is None else str(port), "data.directory": data}
    )
    from perplex_mono import server

    server.run(configuration.settings(), configuration.sources)


@click.command(short_help="Put files and folders into the library.")
@click.argument("paths", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path), metavar="PATH...")
@click.option(
    "--collection", "-c", default="default", show_default=True, metavar="NAME_OR_ID", help="Where to put them."
)
@click.option("--tag", "-t", "tags", multiple=True, metavar="TAG", help="A tag for each document; may be repeated.")
@click.option(
    "--recursive/--no-recursive", default=True, show_default=True, help="Whether to walk into folders within folders."
)
@click.option("--no-wait", is_flag=True, help="Hand the files over and return; the reading goes on behind.")
@server_option
@json_option
@click.pass_obj
def ingest(
    invocation: Invocation,
    paths: tuple[Path, ...],
    collection: str,
    tags: tuple[str, ...],
    recursive: bool,
    no_wait: bool,
    server: str | None,
    as_json: bool,
) -> None:
    """Put files and folders into the library, and wait until they can be searched.

    In folders, hidden files and symbolic links are passed over unless they are named themselves. What the collection
    already holds is not ingested twice.

    Exit code: 0 when every file is ready (or has the content of a document that is), 1 when some failed or could not
    be read, 130 when interrupted: a server then goes on, and `perplex-mono operations --follow ID` shows how far it is.

    \b
    With --json, one object:
      uploads     what the server answered to each upload
      operations  the operations as they ended
      documents   the documents as they are now
      skipped     files that were not taken: path and reason

    \b
    Examples:
      perplex-mono ingest report.pdf scans/
      perplex-mono ingest ~/Mail --collection archive --tag mail --tag 2024
      perplex-mono ingest big-folder --no-wait
    """
    from perplex_mono.cli.ingest import IngestRequest, ingest_paths

    request = IngestRequest(
        paths=paths, collection=collection, tags=tags, is_recursive=recursive, is_waiting=not no_wait, as_json=as_json
    )
    exit_with(invocation.run(ingest_paths(invocation.settings(), server, request)))


@click.command(short_help="Find passages in the library.")
@click.argument("query")
@collections_option("search")
@click.option(
    "--limit", "-n", type=click.IntRange(min=1), default=10, show_default=True, help="How many passages at most."
)
@click.option(
    "--mode",
    type=click.Choice(SEARCH_MODES),
    default="hybrid",
    show_default=True,
    help="By meaning and words, by meaning (dense), or by words (sparse).",
)
@click.option("--explain", is_flag=True, help="Show how each passage scored and ranked by meaning and by words.")
@server_option
@json_option
@click.pass_obj
def search(
    invocation: Invocation,
    query: str,
    collections: tuple[str, ...],
    limit: int,
    mode: str,
    explain: bool,
    server: str | None,
    as_json: bool,
) -> None:
    """Find the passages that answer QUERY best, each with its document and page.

    With --json: the answer of POST /api/v1/search.

    \b
    Examples:
      perplex-mono search "notice period"
      perplex-mono search "ISO 27001" --mode sparse --limit 3
      perplex-mono search budget -c finance -c board --json
    """
    from perplex_mono.cli.search import search_library

    exit_with(
        invocation.run(
            search_library(
                invocation.settings(),
                server,
                query=query,
                collections=collections,
                limit=limit,
                mode=mode,
                is_explained=explain,
                as_json=as_json,
            )
        )
    )


@click.command(short_help="Answer a question, with citations.")
@click.argument("question")
@collections_option("ask")
@server_option
@json_option
@click.pass_obj
def ask(invocation: Invocation, question: str, collections: tuple[str, ...], server: str | None, as_json: bool) -> None:
    """Answer QUESTION from the library; every [n] names the document, page and words it rests on.

    With --json: the answer of POST /api/v1/answers.

    \b
    Examples:
      perplex-mono ask "When may the contract be ended?"
      perplex-mono ask "Who signed it?" -c contracts --json
    """
    from perplex_mono.cli.ask import ask_library

    exit_with(
        invocation.run(
            ask_library(invocation.settings(), server, question=question, collections=collections, as_json=as_json)
        )
    )


@click.command(short_help="Prove that the library is whole; mend what is not.")
@click.option("--repair", is_flag=True, help="Mend what can be mended, then examine again.")
@json_option
@click.pass_obj
def doctor(invocation: Invocation, repair: bool, as_json: bool) -> None:
    """Examine the data directory: every promise about what is stored, every byte of every original, every index row.

    The server must be stopped. Without --repair nothing is mended; opening the library brings its tables up to this
    version, as a start would. The index is rebuilt from the database without OCR
    or a model; documents with missing parts are queued, and ingested at the next start from their stored pages. Exit
    code 0 only when nothing is wrong (any more).

    With --json: healthy, checks, findings (check, subject, problem, repairable, outcome).

    \b
    Examples:
      perplex-mono doctor
      perplex-mono doctor --repair
    """
    from perplex_mono.cli.doctor import run_doctor

    exit_with(invocation.run(run_doctor(invocation.settings(), is_repairing=repair, as_json=as_json)))


@click.command(short_help="Show every setting and where it comes from; change some.")
@click.option("--set", "given", multiple=True, metavar="NAME=VALUE", help="Change a setting; may be repeated.")
@click.option("--unset", "removed", multiple=True, metavar="NAME", help="Take such a change back; may be repeated.")
@server_option
@json_option
@click.pass_obj
def settings(
    invocation: Invocation, given: tuple[str, ...], removed: tuple[str, ...], server: str | None, as_json: bool
) -> None:
    """Show every setting: its value, where it comes from, and the environment variable that changes it.

    Without --server it reads files only, so it shows what the next start finds. A change stands above file and
    environment. It is made by the running server, some at once, or else in the data directory. Secrets are never shown.

    \b
    With --json, items: name, value, default, source, variable, description; from a server also takes_effect
    (at_once, next_start, fixed), and next_value while a change waits.

    \b
    Examples:
      perplex-mono settings
      perplex-mono --config /etc/perplex.toml settings --json
      perplex-mono settings --set logging.level=DEBUG --set limits.max_k=500
      perplex-mono settings --unset logging.level
    """
    from perplex_mono.cli.settings_table import change_settings, show_server_settings, show_settings

    if given or removed:
        exit_with(invocation.run(change_settings(invocation, server, given, removed, as_json=as_json)))
    if server:
        exit_with(invocation.run(show_server_settings(server, as_json=as_json)))
    show_settings(invocation, as_json=as_json)


@click.command(short_help="Print the OpenAPI document.")
@click.option("--output", "-o", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="Write it here.")
@click.pass_obj
def openapi(invocation: Invocation, output: Path | None) -> None:
    """Print the OpenAPI document of the HTTP interface; no server is needed.

    \b
    Examples:
      perplex-mono openapi > openapi.json
      perplex-mono openapi --output openapi.json
    """
    from perplex_mono.cli.openapi import write_openapi

    write_openapi(invocation.settings(), output)


COMMANDS: list[click.Command] = [
    setup,
    serve,
    ingest,
    sources,
    search,
    ask,
    operations,
    reindex,
    user,
    key,
    backup,
    restore,
    doctor,
    settings,
    openapi,
]
