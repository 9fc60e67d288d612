"""`perplex-mono reindex`: a collection indexed anew and followed to the switch; its indexes, and the way back."""

from collections.abc import Mapping

import msgspec
from rich.table import Table

from perplex_mono.cli.backend import open_backend, resolve_collections
from perplex_mono.cli.operations import follow_to_end
from perplex_mono.cli.terminal import results, write_json
from perplex_mono.library.schemas import Chunking, IndexList, Reindexing
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
    """Build the index and follow it; 0 when searches use it."""
    given = {name: value for name, value in cut.items() if value is not None}
    wanted = Reindexing(model=model, chunking=msgspec.convert(given, Chunking) if given else None)
    async with open_backend(settings, server) as backend:
        (collection_id,) = await resolve_collections(backend, [collection])
        accepted = await backend.reindex(collection_id, wanted)
        return await follow_to_end(backend, accepted.operation_id, as_json=as_json)


async def list_indexes(settings: Settings, server: str | None, collection: str, *, as_json: bool) -> int:
    """Print the indexes of a collection; the exit code."""
    async with open_backend(settings, server) as backend:
        (collection_id,) = await resolve_collections(backend, [collection])
        found = await backend.indexes(collection_id)
    if as_json:
        write_json(found)
    else:
        results().print(_table(found))
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


def _table(found: IndexList) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("Index", no_wrap=True, min_width=36)
    for heading in ("State", "Model", "Cut"):
        table.add_column(heading)
    for heading in ("Documents", "Chunks"):
        table.add_column(heading, justify="right")
    for index in found.items:
        chunking = index.chunking
        cut = f"{chunking.strategy} {chunking.max_tokens}/{chunking.overlap_tokens}"
        table.add_row(index.id, index.state, index.model, cut, str(index.document_count), str(index.chunk_count))
    return table
