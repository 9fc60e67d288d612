"""`perplex-mono operations`: the list of long work, or one operation followed to its end."""

import asyncio
from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from perplex_mono.cli.backend import Backend, open_backend
from perplex_mono.cli.following import follow
from perplex_mono.cli.plain_text import one_line
from perplex_mono.cli.progress_bar import ProgressBar, amount, duration, megabytes
from perplex_mono.cli.terminal import notices, results, write_json
from perplex_mono.operations.models import FINAL_STATES
from perplex_mono.operations.schemas import Action, Envelope, OperationView
from perplex_mono.settings import Settings


async def list_operations(settings: Settings, server: str | None, *, state: str | None, as_json: bool) -> int:
    """Print the newest operations; the exit code."""
    async with open_backend(settings, server) as backend:
        page = await backend.operations(state)
    if as_json:
        write_json(page)
    else:
        show_operations(page.items, results(), has_more=page.next_cursor is not None)
    return 0


async def list_all_operations(settings: Settings, server: str | None, *, state: str | None, as_json: bool) -> int:
    """Print everybody's newest operations; the exit code."""
    async with open_backend(settings, server) as backend:
        page = await backend.all_operations(state)
    if as_json:
        write_json(page)
        return 0
    owners = {item.operation.id: item.owner_name or item.owner_id for item in page.items}
    items = [item.operation for item in page.items]
    show_operations(items, results(), has_more=page.next_cursor is not None, owners=owners)
    return 0


async def follow_operation(settings: Settings, server: str | None, operation_id: str, *, as_json: bool) -> int:
    """Follow to the end; 0 when it completed and no document failed."""
    async with open_backend(settings, server) as backend:
        return await follow_to_end(backend, operation_id, as_json=as_json)


async def follow_to_end(backend: Backend, operation_id: str, *, as_json: bool) -> int:
    """Show the operation as it goes, then how it ended; 0 when it completed and no document failed."""
    try:
        if as_json:
            async for event in follow(backend, operation_id):
                write_json(event)
        else:
            await _show_live(backend, operation_id)
    except asyncio.CancelledError:
        if backend.outlives_command:
            notices().print("No longer following; the server goes on.")
        raise
    operation = await backend.operation(operation_id)
    if not as_json:
        results().print(summary(operation))
    return 0 if operation.state == "completed" and not operation.failed_count else 1


async def act_on_operation(
    settings: Settings, server: str | None, action: Action, operation_id: str, *, is_any: bool, as_json: bool
) -> int:
    """Pause, resume, cancel or retry, and print the operation as it is then; the exit code."""
    async with open_backend(settings, server) as backend:
        if not is_any:
            return _print(await backend.act(action, operation_id), as_json=as_json)
        owned = await backend.act_on_any(action, operation_id)
    if as_json:
        write_json(owned)
        return 0
    results().print(f"Of {one_line(owned.owner_name or owned.owner_id)}:", end=" ")
    return _print(owned.operation, as_json=False)


async def retry_document(settings: Settings, server: str | None, document_id: str, *, as_json: bool) -> int:
    """Ingest one document again, and print the operation that does it; the exit code."""
    async with open_backend(settings, server) as backend:
        accepted = await backend.retry_document(document_id)
        operation = await backend.operation(accepted.operation_id)
    return _print(operation, as_json=as_json)


def _print(operation: OperationView, *, as_json: bool) -> int:
    if as_json:
        write_json(operation)
    else:
        results().print(summary(operation))
    return 0


def show_operations(
    items: Sequence[OperationView], console: Console, *, has_more: bool, owners: Mapping[str, str] | None = None
) -> None:
    """A page of them as a table, with the owners by operation where they may be several."""
    if not items:
        console.print("No operations.")
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("Operation", no_wrap=True, min_width=36)
    if owners is not None:
        table.add_column("Owner", overflow="fold")
    for heading in ("Kind", "State", "Done", "Failed", "Created (UTC)"):
        table.add_column(
            heading, no_wrap=heading != "Done", justify="right" if heading in ("Done", "Failed") else "left"
        )
    for item in items:
        done = f"{item.done}/{item.total} {item.unit}"
        if item.unit == "bytes":
            done = f"{megabytes(item.done)}/{megabytes(item.total)}"
        created = f"{item.created_at:%Y-%m-%d %H:%M}"
        owner = [] if owners is None else [one_line(owners[item.id])]
        table.add_row(item.id, *owner, item.kind, item.state, done, str(item.failed_count or ""), created)
    console.print(table)
    for item in items:
        if item.error is not None:
            console.print(Text(f"{item.id}: {item.error.type}: {one_line(item.error.message)}"), soft_wrap=True)
    if has_more:
        console.print(f"Only the newest {len(items)} are shown.")


def summary(operation: OperationView) -> Text:
    """How the operation stands, in a sentence."""
    done = amount(operation.done, operation.total, operation.unit)
    text = Text(f"{operation.kind} {operation.state}: {done}")
    if operation.failed_count:
        text.append(f", {operation.failed_count} failed")
    if operation.started_at is not None and operation.finished_at is not None:
        text.append(f", {duration((operation.finished_at - operation.started_at).total_seconds())}")
    if operation.error is not None and operation.state in FINAL_STATES - {"completed"}:
        text.append(f" ({operation.error.type}: {one_line(operation.error.message)})")
    return text


async def _show_live(backend: Backend, operation_id: str) -> None:
    """A bar on a terminal; documents that end, line by line, on standard output."""
    console = results()
    with ProgressBar(notices()) as bar:
        async for event in follow(backend, operation_id):
            bar.show_event(event)
            line = event_line(event)
            if line is not None:
                console.print(line, soft_wrap=True)


def event_line(event: Envelope) -> Text | None:
    """What is worth a line of its own."""
    data = event.data
    name = one_line(str(data.get("name", "")))
    if event.type == "document_done":
        return Text(f"ready   {name} ({data.get('pages')} pages, {data.get('chunks')} chunks)")
    if event.type == "document_failed":
        failure = data.get("failure", {})
        return Text(f"failed  {name}: {failure.get('code')}: {one_line(str(failure.get('message', '')))}")
    if event.type == "warning":
        return Text(f"warning {name}: {one_line(str(data.get('message', data)))}")
    if event.type in ("paused", "resumed"):
        return Text(f"{event.type}  {data.get('done')} of {data.get('total')} done")
    if event.type == "retrying":
        error = data.get("error", {})
        return Text(f"again in {data.get('in_seconds')} s: {one_line(str(error.get('message', '')))}")
    return None
