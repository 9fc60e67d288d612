"""`perplex-mono sources`: the folders of a collection, and a scan followed until its documents are searchable."""

from functools import partial

from rich.table import Table

from perplex_mono.cli.backend import Backend, open_backend, resolve_collections
from perplex_mono.cli.operations import follow_to_end
from perplex_mono.cli.paging import all_items
from perplex_mono.cli.plain_text import one_line
from perplex_mono.cli.terminal import results, write_json
from perplex_mono.errors import NotFound
from perplex_mono.settings import Settings
from perplex_mono.sources.schemas import LastScan, NewSource, SourceView

_STATES = {"completed": "ok", "running": "scanning", "queued": "waiting"}


async def list_sources(settings: Settings, server: str | None, collection: str, *, as_json: bool) -> int:
    """Print the folders; the exit code."""
    async with open_backend(settings, server) as backend:
        (collection_id,) = await resolve_collections(backend, [collection])
        found = await _all_sources(backend, collection_id)
    if as_json:
        write_json({"items": found})
    elif found:
        results().print(_table(found))
    else:
        results().print("No folder is followed.")
    return 0


async def add_source(
    settings: Settings, server: str | None, collection: str, new: NewSource, *, is_waiting: bool, as_json: bool
) -> int:
    """Follow a folder and, unless it is to wait, scan it; the exit code."""
    async with open_backend(settings, server) as backend:
        (collection_id,) = await resolve_collections(backend, [collection])
        source = await backend.add_source(collection_id, new)
        if as_json:
            write_json(source)
        else:
            results().print(f"Following {one_line(source.directory)} ({source.id})", soft_wrap=True, markup=False)
        return await _scan(backend, source, as_json=as_json) if is_waiting else 0


async def scan_source(
    settings: Settings, server: str | None, collection: str, key: tuple[str, str], *, as_json: bool
) -> int:
    """Scan a folder given by id or path; 0 when all of it was seen and no document failed."""
    async with open_backend(settings, server) as backend:
        (collection_id,) = await resolve_collections(backend, [collection])
        return await _scan(backend, await _find(backend, collection_id, key), as_json=as_json)


async def remove_source(
    settings: Settings, server: str | None, collection: str, key: tuple[str, str], *, as_json: bool
) -> int:
    """Stop following a folder given by id or path; 0 when its documents are gone."""
    async with open_backend(settings, server) as backend:
        (collection_id,) = await resolve_collections(backend, [collection])
        source = await _find(backend, collection_id, key)
        accepted = await backend.remove_source(source.collection_id, source.id)
        return await follow_to_end(backend, accepted.operation_id, as_json=as_json)


async def _scan(backend: Backend, source: SourceView, *, as_json: bool) -> int:
    """Follow the scan, then the ingestion of what it found."""
    accepted = await backend.scan_source(source.collection_id, source.id)
    code = await follow_to_end(backend, accepted.scan_id, as_json=as_json)
    for operation in (await backend.operations(None)).items:
        if operation.parent_id == accepted.scan_id:
            code = max(code, await follow_to_end(backend, operation.id, as_json=as_json))
    return code


async def _find(backend: Backend, collection_id: str, key: tuple[str, str]) -> SourceView:
    for source in await _all_sources(backend, collection_id):
        if source.id in key or source.directory in key:
            return source
    raise NotFound("source in this collection", key[0])


async def _all_sources(backend: Backend, collection_id: str) -> list[SourceView]:
    return await all_items(partial(backend.sources, collection_id))


def _table(found: list[SourceView]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("Source", no_wrap=True, min_width=36)
    table.add_column("Folder", overflow="fold")
    for heading in ("Files", "Skipped", "Failed"):
        table.add_column(heading, justify="right")
    table.add_column("Scanned (UTC)", no_wrap=True)
    table.add_column("State", overflow="fold")
    for source in found:
        scanned = f"{source.scanned_at:%Y-%m-%d %H:%M}" if source.scanned_at is not None else "never"
        folder = one_line(source.directory)
        counts = str(source.file_count), str(source.skipped_count or ""), str(source.failed_count or "")
        table.add_row(source.id, folder, *counts, scanned, _state(source.last_scan))
    return table


def _state(scan: LastScan | None) -> str:
    """What became of the last scan in a word; when it failed, why."""
    if scan is None:
        return ""
    if scan.state in ("failed", "dead"):
        return one_line(scan.error.message) if scan.error is not None else scan.state
    return _STATES.get(scan.state, scan.state)
