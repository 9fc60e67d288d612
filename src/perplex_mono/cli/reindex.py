"""`perplex-mono reindex`: a collection indexed anew and followed to the switch; its indexes, and the way back."""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

import msgspec
from rich.table import Table

from perplex_mono.cli.backend import open_backend, resolve_collections
from perplex_mono.cli.operations import follow_to_end
from perplex_mono.cli.terminal import results, write_json
from perplex_mono.library.index_schemas import IndexList, Reindexing
from perplex_mono.library.schemas import Chunking
from perplex_mono.settings import Settings


async def reindex_collection(
    settings: Settings,
    server: str | None,
    collection: str,
    *,
    model: str | None,
    cut: Mapping[str, object],
    as_json: bool,
) -> int:
    """Build the index, follow it and say how to go back; 0 when searches use it."""
    given = {name: value for name, value in cut.items() if value is not None}
    wanted = Reindexing(model=model, chunking=msgspec.convert(given, Chunking) if given else None)
    async with open_backend(settings, server) as backend:
        (collection_id,) = await resolve_collections(backend, [collection])
        before = [index.id for index in (await backend.indexes(collection_id)).items if index.state == "active"]
        accepted = await backend.reindex(collection_id, wanted)
        code = await follow_to_end(backend, accepted.operation_id, as_json=as_json)
        if not as_json:
            for line in way_back(await backend.indexes(collection_id), accepted.index_id, before, collection, server):
                results().print(line, soft_wrap=True)
        return code


def way_back(
    found: IndexList, new_id: str, before: Sequence[str], collection: str, server: str | None
) -> Iterator[str]:
    """Which index is searched now, and the command for each of those before that is kept; nothing until it is."""
    states = {index.id: index.state for index in found.items}
    if states.get(new_id) != "active":
        return
    yield f"Active: {new_id}"
    options = ["--server", server] if server is not None else []
    for old_id in before:
        if states.get(old_id) == "retired":
            command = shlex.join(["perplex-mono", "reindex", "-c", collection, "--activate", old_id, *options])
            yield f"`{command}` goes back, while the index before is kept (setting indexes.keep_retired_days)."


async def list_indexes(settings: Settings, server: str | None, collection: str, *, as_json: bool) -> int:
    """Print the indexes of a collection; the exit code."""
    async with open_backend(settings, server) as backend:
        (collection_id,) = await resolve_collections(backend, [collection])
        found = await backend.indexes(collection_id)
    if as_json:
        write_json(found)
    else:
        results().print(index_table(found))
    return 0


async def activate_index(
    settings: Settings, server: str | None, collection: str, index_id: str, *, as_json: bool
) -> int:
    """Search in a kept index again; the exit code."""
    async with open_backend(settings, server) as backend:
        (collection_id,) = await resolve_collections(backend, [collection])
        activated = await backend.activate(collection_id, index_id)
        if as_json:
            write_json(activated)
            return 0
        results().print(f"Active: {activated.index.id} ({activated.index.model})")
        if activated.operation_id is None:
            return 0
        results().print(f"Adding {activated.missing_documents} documents that came meanwhile:")
        return await follow_to_end(backend, activated.operation_id, as_json=False)


def index_table(found: IndexList) -> Table:
    """The indexes as people read them; times in UTC."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("Index", no_wrap=True, min_width=36)
    for heading in ("State", "Model", "Cut"):
        table.add_column(heading)
    for heading in ("Documents", "Chunks"):
        table.add_column(heading, justify="right")
    for heading in ("Created (UTC)", "Retired (UTC)"):
        table.add_column(heading)
    for index in found.items:
        chunking = index.chunking
        cut = f"{chunking.strategy} {chunking.max_tokens}/{chunking.overlap_tokens}"
        counts = str(index.document_count), str(index.chunk_count)
        table.add_row(
            index.id, index.state, index.model, cut, *counts, _minute(index.created_at), _minute(index.retired_at)
        )
    return table


def _minute(time: datetime | None) -> str:
    return f"{time:%Y-%m-%d %H:%M}" if time is not None else ""
