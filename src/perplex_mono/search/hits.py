"""Ranked chunk ids become hits, from the truth in SQLite; small chunks are shown as the parents they stand in."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

from perplex_mono.library.models import Chunk, Document
from perplex_mono.library.passages import PageSpan, Passage, PassageReader
from perplex_mono.library.repository import DocumentRepository
from perplex_mono.search.highlights import find_highlights, query_terms
from perplex_mono.search.schemas import Box, Hit, HitDocument, Matched, Ranks, Scores, SearchMode, SearchRequest
from perplex_mono.storage.database import Database

SPARE_HITS = 10


@dataclass
class Found:
    """The lists of all targets, joined by rank; `fused` is in order, best first."""

    fused: dict[str, float]
    dense: dict[str, float]
    sparse: dict[str, float]
    dense_ranks: Mapping[str, int]
    sparse_ranks: Mapping[str, int]


class HitReader:
    """Reads what is shown of chunks that were found."""

    def __init__(self, database: Database, passages: PassageReader) -> None:
        self._database = database
        self._passages = passages

    async def read(self, found: Found, request: SearchRequest, mode: SearchMode) -> list[Hit]:
        """The first `limit` that are still visible, no parent twice; what was deleted meanwhile is passed over."""
        rows = await self._visible(list(found.fused), request.limit)
        spans = [span for chunk, document in rows if (span := _parent_span(chunk, document)) is not None]
        passages = await self._passages.read(spans)
        terms = query_terms(request.query)
        hits: list[Hit] = []
        for chunk, document in rows:
            span = _parent_span(chunk, document)
            parent = passages.get(span) if span is not None else None
            hits.append(_hit(chunk, document, parent, found, mode, terms, explain=request.explain))
        return hits

    async def _visible(self, order: Sequence[str], limit: int) -> list[tuple[Chunk, Document]]:
        """Rows in order, of chunks with one parent the first; read in growing steps until there are enough.

        A document that two indexes hold for a while, one catching up with the other, is shown as one of them has it.
        """
        chosen: dict[Hashable, tuple[Chunk, Document]] = {}
        index_of: dict[str, str] = {}
        start, step = 0, limit + SPARE_HITS
        async with self._database.read() as session:
            while start < len(order) and len(chosen) < limit:
                keys = order[start : start + step]
                rows = await DocumentRepository(session).chunks_with_documents(keys)
                for chunk, document in (rows[key] for key in keys if key in rows):
                    if index_of.setdefault(document.id, chunk.index_id) == chunk.index_id:
                        chosen.setdefault(_place(chunk), (chunk, document))
                start, step = start + step, step * 2
        return list(chosen.values())[:limit]


def _place(chunk: Chunk) -> Hashable:
    """What is shown for the chunk: equal for all chunks of one parent."""
    if chunk.parent_start is None:
        return chunk.id
    return chunk.document_id, chunk.index_id, chunk.page, chunk.parent_start, chunk.parent_end


def _parent_span(chunk: Chunk, document: Document) -> PageSpan | None:
    if chunk.parent_start is None or chunk.parent_end is None:
        return None
    return PageSpan(document.sha256, chunk.page, chunk.parent_start, chunk.parent_end)


def _hit(
    chunk: Chunk,
    document: Document,
    parent: Passage | None,
    found: Found,
    mode: SearchMode,
    terms: set[str],
    *,
    explain: bool,
) -> Hit:
    key = chunk.id
    scores = Scores(dense=found.dense.get(key), sparse=found.sparse.get(key), fused=found.fused[key])
    score = {"hybrid": scores.fused, "dense": scores.dense, "sparse": scores.sparse}[mode]
    matched = _matched(chunk, parent)
    shown = parent if parent is not None and matched is not None else Passage(chunk.text, chunk.boxes)
    return Hit(
        chunk_id=key,
        document=_document(document),
        collection_id=document.collection_id,
        text=shown.text,
        highlights=find_highlights(shown.text, terms),
        heading_path=chunk.heading_path,
        pages=[chunk.page],
        boxes=[Box(chunk.page, *box) for box in shown.boxes],
        score=score if score is not None else found.fused[key],
        scores=scores if explain else None,
        ranks=Ranks(dense=found.dense_ranks.get(key), sparse=found.sparse_ranks.get(key)) if explain else None,
        matched=matched,
    )


def _document(document: Document) -> HitDocument:
    return HitDocument(
        id=document.id,
        name=document.name,
        media_type=document.media_type,
        page_count=document.page_count,
        tags=document.tags,
        created_at=document.created_at,
    )


def _matched(chunk: Chunk, parent: Passage | None) -> Matched | None:
    """The chunk inside its parent; None where it is shown itself, also when the stored page no longer says it."""
    if parent is None or chunk.parent_start is None:
        return None
    start, end = chunk.start - chunk.parent_start, chunk.end - chunk.parent_start
    if parent.text[start:end] != chunk.text:
        return None
    return Matched(chunk.text, start, end, [Box(chunk.page, *box) for box in chunk.boxes])
