"""`perplex-mono search`: passages as a person wants to read them."""

from collections.abc import Sequence
from typing import cast

from rich.console import Console
from rich.text import Text

from perplex_mono.cli.backend import open_backend, resolve_collections
from perplex_mono.cli.passages import excerpt, page_name
from perplex_mono.cli.plain_text import one_line
from perplex_mono.cli.terminal import notices, print_indented, results, text_width, write_json
from perplex_mono.search.schemas import Hit, SearchMode, SearchRequest, SearchResponse
from perplex_mono.settings import Settings

LINES_SHOWN = 4
INDENT = 4


async def search_library(
    settings: Settings,
    server: str | None,
    *,
    query: str,
    collections: Sequence[str],
    limit: int,
    mode: str,
    is_explained: bool,
    as_json: bool,
) -> int:
    """Search and print; the exit code."""
    async with open_backend(settings, server) as backend:
        found = await backend.search(
            SearchRequest(
                query=query,
                collection_ids=await resolve_collections(backend, collections),
                limit=limit,
                mode=cast(SearchMode, mode),
                explain=is_explained,
            )
        )
    if as_json:
        write_json(found)
    else:
        show_results(found, results(), notices())
    return 0


def show_results(found: SearchResponse, console: Console, warnings: Console) -> None:
    """The passages, best first, on `console`."""
    for warning in found.warnings:
        warnings.print(f"warning: {one_line(warning)}")
    if not found.hits:
        console.print("Nothing found.")
    for rank, hit in enumerate(found.hits, 1):
        if rank > 1:
            console.print()
        _show_hit(rank, hit, console)
    if any(hit.scores for hit in found.hits):
        timings = ", ".join(f"{name} {value:g}" for name, value in found.timings_ms.items())
        console.print(Text(f"\nmode {found.mode_used}; milliseconds: {timings}", style="dim"))


def _show_hit(rank: int, hit: Hit, console: Console) -> None:
    head = Text(f"{rank:>2}. ")
    head.append(one_line(hit.document.name), style="bold")
    head.append(", " + ", ".join(page_name(hit.document.media_type, page) for page in hit.pages))
    if hit.heading_path:
        head.append("  " + " › ".join(one_line(heading) for heading in hit.heading_path), style="italic")
    head.append(f"  {hit.score:.3g}", style="dim")
    width = text_width(console)
    console.print(head, soft_wrap=True)  # one line of its own, whose score no fold cuts off
    marks = [(mark.start, mark.end) for mark in hit.highlights]
    passage = excerpt(hit.text, marks, LINES_SHOWN * (width - INDENT) - INDENT)
    print_indented(console, passage.to_rich(), INDENT)
    if hit.scores is not None and hit.ranks is not None:
        explained = Text(f"{' ' * INDENT}", style="dim")
        explained.append(f"dense {_figures(hit.scores.dense, hit.ranks.dense)}; ")
        explained.append(f"sparse {_figures(hit.scores.sparse, hit.ranks.sparse)}; ")
        explained.append(f"fused {_figures(hit.scores.fused, None)}")
        console.print(explained, width=width)


def _figures(score: float | None, rank: int | None) -> str:
    if score is None:
        return "not found"
    return f"{score:.3g}" if rank is None else f"{score:.3g} (rank {rank})"
