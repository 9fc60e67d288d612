"""How a text would be cut, for people who choose a strategy: the chunks themselves, and how large they are."""

from collections.abc import Callable, Sequence
from functools import partial
from statistics import median_low

from perplex_mono.errors import InvalidInput
from perplex_mono.inference.models import EmbeddingModel
from perplex_mono.ingestion.chunks import Chunk, Outline, Splitter
from perplex_mono.ingestion.cutting import Cutter
from perplex_mono.ingestion.page_store import PageStore
from perplex_mono.ingestion.pages import Block, Page
from perplex_mono.ingestion.schemas import (
    ChunkPreview,
    ChunkPreviewRequest,
    ChunkPreviewView,
    ChunkTotals,
    ParentPreview,
)
from perplex_mono.library.recipes import IndexRecipes
from perplex_mono.library.schemas import Chunking, ChunkingView
from perplex_mono.library.service import DocumentService

MAX_PAGES = 50
MAX_CHUNKS = 500

Place = tuple[int, int, int]
"""Page, start and end."""


class ChunkPreviewer:
    """Cuts as ingestion would with the model that is set, and stores nothing."""

    def __init__(
        self,
        documents: DocumentService,
        pages: PageStore,
        cutter: Cutter,
        recipes: IndexRecipes,
        model: EmbeddingModel,
    ) -> None:
        self._documents = documents
        self._pages = pages
        self._cutter = cutter
        self._recipes = recipes
        self._model = model

    async def preview(self, request: ChunkPreviewRequest, owner_id: str) -> ChunkPreviewView:
        """How a text or a document would be cut, its first pages at least.

        Raises `InvalidInput`, `NotFound`, and for `semantic` what embedding raises.
        """
        if (request.text is None) == (request.document_id is None):
            raise InvalidInput("Give either 'text' or 'document_id'.")
        recipe = self._recipes.cut_as(Chunking(request.strategy, request.max_tokens, request.overlap_tokens))
        chunking = ChunkingView(recipe.chunk_strategy, recipe.chunk_max_tokens, recipe.chunk_overlap_tokens)
        pages = [_as_page(request.text)] if request.text is not None else []
        if request.document_id is not None:
            document = await self._documents.get_row(request.document_id, owner_id)
            pages = [page async for page in self._pages.load(document.sha256, limit=MAX_PAGES + 1)]
        work = partial(_show, chunking, pages, self._model.tokens.count)
        sizes = chunking.max_tokens, chunking.overlap_tokens
        return await self._cutter.run(work, self._model, chunking.strategy, *sizes)


def _as_page(text: str) -> Page:
    return Page(number=1, text=text, blocks=[Block("paragraph", 0, len(text))])


def _show(
    chunking: ChunkingView, pages: Sequence[Page], count_tokens: Callable[[str], int], splitter: Splitter
) -> ChunkPreviewView:
    """Cut page by page until there are enough chunks to look at."""
    chunks: list[Chunk] = []
    outline: Outline = ()
    done = 0
    while done < min(len(pages), MAX_PAGES) and len(chunks) < MAX_CHUNKS:
        made, outline = splitter.split_page(pages[done], outline)
        chunks += made
        done += 1
    is_truncated = done < len(pages) or len(chunks) > MAX_CHUNKS
    return _view(chunking, chunks[:MAX_CHUNKS], pages, count_tokens, truncated=is_truncated)


def _view(
    chunking: ChunkingView,
    chunks: Sequence[Chunk],
    pages: Sequence[Page],
    count_tokens: Callable[[str], int],
    *,
    truncated: bool,
) -> ChunkPreviewView:
    texts = {page.number: page.text for page in pages}
    places: dict[Place, int] = {}
    shown: list[ChunkPreview] = []
    for chunk in chunks:
        place = _parent(chunk)
        parent = None if place is None else places.setdefault(place, len(places))
        path = list(chunk.heading_path)
        shown.append(
            ChunkPreview(chunk.page, chunk.start, chunk.end, chunk.text, path, chunk.token_count, parent=parent)
        )
    parents: list[ParentPreview] = []
    for page, start, end in places:
        text = texts[page][start:end]
        parents.append(ParentPreview(page, start, end, text, count_tokens(text)))
    return ChunkPreviewView(chunking, shown, parents, _totals(chunks), truncated)


def _parent(chunk: Chunk) -> Place | None:
    if chunk.parent_start is None or chunk.parent_end is None:
        return None
    return chunk.page, chunk.parent_start, chunk.parent_end


def _totals(chunks: Sequence[Chunk]) -> ChunkTotals:
    sizes = [chunk.token_count for chunk in chunks] or [0]
    return ChunkTotals(len(chunks), min(sizes), median_low(sizes), max(sizes))
