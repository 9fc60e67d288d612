"""The commands for long work: what runs and how to steer it, and indexing a collection anew."""

from typing import TYPE_CHECKING

import click

from perplex_mono.cli.invocation import Invocation
from perplex_mono.cli.options import exit_with, json_option, server_option

if TYPE_CHECKING:
    from perplex_mono.operations.schemas import Action

OPERATION_STATES = ("queued", "running", "paused", "completed", "failed", "dead", "cancelled")


@click.command(short_help="List, follow, pause, resume, cancel or retry long work.")
@click.option("--follow", "-f", metavar="ID", help="Follow this operation live, to its end.")
@click.option("--pause", metavar="ID", help="Hold it; finished pages are kept.")
@click.option("--resume", metavar="ID", help="Let it go on.")
@click.option("--cancel", metavar="ID", help="End it; documents that are not ready lose what was read of them.")
@click.option(
    "--retry",
    metavar="ID",
    help="Take up again what failed or was cancelled; a cancelled reindex is begun anew instead.",
)
@click.option("--retry-document", metavar="ID", help="Ingest this one document, which failed or was cancelled, again.")
@click.option("--state", type=click.Choice(OPERATION_STATES), help="List only operations in this state.")
@click.option(
    "--everyone", is_flag=True, help="Everybody's, for administrators: to list, pause, resume, cancel or retry."
)
@server_option
@json_option
@click.pass_obj
def operations(
    invocation: Invocation,
    state: str | None,
    everyone: bool,
    server: str | None,
    as_json: bool,
    follow: str | None,
    pause: str | None,
    resume: str | None,
    cancel: str | None,
    retry: str | None,
    retry_document: str | None,
) -> None:
    """List the long work, newest first; or follow or steer one operation.

    With --json: the answer of GET /api/v1/operations, with --everyone of GET /api/v1/all-operations; with --follow, one
    event a line; otherwise the operation (with --everyone, and whose it is).
    Following ends with exit code 0 only when the operation completed and none of its documents failed.

    \b
    Examples:
      perplex-mono operations
      perplex-mono operations --state running --json
      perplex-mono operations --follow 0197a2b4-6c1e-7d3f-9a51-2f6f0e8b7c11
      perplex-mono operations --pause 0197a2b4-6c1e-7d3f-9a51-2f6f0e8b7c11
      perplex-mono operations --everyone --state running
    """
    given = {"follow": follow, "pause": pause, "resume": resume, "cancel": cancel, "retry": retry}
    given |= {"retry-document": retry_document, "state": state}
    named = [f"--{name}" for name, value in given.items() if value is not None]
    if len(named) > 1:
        raise click.UsageError(
            f"{' and '.join(named)} cannot be combined: list operations, or name one to do one thing."
        )
    if everyone and (follow or retry_document):
        raise click.UsageError(
            f"{named[0]} shows or does what only its owner may; --everyone lists, pauses, resumes, cancels and retries."
        )
    from perplex_mono.cli import operations as commands

    settings = invocation.settings()
    if follow is not None:
        exit_with(invocation.run(commands.follow_operation(settings, server, follow, as_json=as_json)))
    if retry_document is not None:
        exit_with(invocation.run(commands.retry_document(settings, server, retry_document, as_json=as_json)))
    actions: dict[Action, str | None] = {"pause": pause, "resume": resume, "cancel": cancel, "retry": retry}
    for action, operation_id in actions.items():
        if operation_id is not None:
            exit_with(
                invocation.run(
                    commands.act_on_operation(settings, server, action, operation_id, is_any=everyone, as_json=as_json)
                )
            )
    listed = commands.list_all_operations if everyone else commands.list_operations
    exit_with(invocation.run(listed(settings, server, state=state, as_json=as_json)))


@click.command(short_help="Index a collection anew: another model, other chunks; or go back.")
@click.option(
    "--collection", "-c", default="default", show_default=True, metavar="NAME_OR_ID", help="Which collection."
)
@click.option("--model", metavar="NAME_OR_FOLDER", help="The embedding model.  [default: setting embedding.model]")
@click.option("--strategy", metavar="NAME", help="How to cut: see setting chunking.strategy.  [default: as before]")
@click.option("--max-tokens", type=click.IntRange(1), help="Tokens of a chunk at most.  [default: as before]")
@click.option("--overlap-tokens", type=click.IntRange(0), help="Tokens neighbours share.  [default: as before]")
@click.option("--list", "is_list", is_flag=True, help="Only list the indexes of the collection.")
@click.option("--activate", metavar="INDEX_ID", help="Search in this kept index again, at once.")
@server_option
@json_option
@click.pass_obj
def reindex(
    invocation: Invocation,
    collection: str,
    model: str | None,
    strategy: str | None,
    max_tokens: int | None,
    overlap_tokens: int | None,
    is_list: bool,
    activate: str | None,
    server: str | None,
    as_json: bool,
) -> None:
    """Build another index beside the active one, from stored pages and without OCR, and follow it to the end.

    Searches go on in the old index until the new one holds every document, then switch at once. The old one is kept
    for a while (setting indexes.keep_retired_days); --activate goes back to it.
    With --json: one event a line; with --list or --activate, the API's answer.

    \b
    Examples:
      perplex-mono reindex --strategy sentence --max-tokens 120
      perplex-mono reindex -c contracts --model /models/multilingual
      perplex-mono reindex --list
      perplex-mono reindex --activate 0197a2b4-6c1e-7d3f-9a51-2f6f0e8b7c11
    """
    given = {"model": model, "strategy": strategy, "max-tokens": max_tokens, "overlap-tokens": overlap_tokens}
    named = [f"--{name}" for name, value in given.items() if value is not None]
    others = ["--list"] * is_list + ["--activate"] * (activate is not None)
    if others and (named or len(others) > 1):
        raise click.UsageError(f"{' and '.join([*others, *named])} cannot be combined.")
    from perplex_mono.cli.reindex import activate_index, list_indexes, reindex_collection

    settings = invocation.settings()
    if is_list:
        exit_with(invocation.run(list_indexes(settings, server, collection, as_json=as_json)))
    if activate is not None:
        exit_with(invocation.run(activate_index(settings, server, collection, activate, as_json=as_json)))
    cut = {"strategy": strategy, "max_tokens": max_tokens, "overlap_tokens": overlap_tokens}
    exit_with(invocation.run(reindex_collection(settings, server, collection, model=model, cut=cut, as_json=as_json)))
