"""A document in a few of its own sentences: those nearest to what all of its passages are about."""

import numpy as np
from sqlmodel import col, select

from perplex_mono.answers.extractive import MAX_SENTENCE_CHARS, MIN_SENTENCE_CHARS
from perplex_mono.answers.schemas import Citation, Summary
from perplex_mono.errors import Conflict
from perplex_mono.ingestion.boxes import boxes_for
from perplex_mono.ingestion.indexing import VECTOR_DTYPE
from perplex_mono.ingestion.page_store import PageStore
from perplex_mono.ingestion.sentences import split_sentences
from perplex_mono.library.models import Chunk, Collection, Document, SearchIndex, StoredEmbedding
from perplex_mono.library.service import DocumentService
from perplex_mono.search.schemas import Box
from perplex_mono.storage.database import Database

MAX_CHUNKS = 2_000
SENTENCES = 5
DIVERSITY = 0.5


class SummaryService:
    """Summarizes ready documents without a language model."""

    name = "extractive"

    def __init__(self, database: Database, documents: DocumentService, pages: PageStore) -> None:
        self._database = database
        self._documents = documents
        self._pages = pages

    async def summarize(self, document_id: str, owner_id: str) -> Summary:
        """The summary. Raises `NotFound`, or `Conflict` while the document is not ready."""
        document = await self._documents.get_row(document_id, owner_id)
        if document.status != "ready":
            raise Conflict(f"The document is {document.status}; only ready ones can be summarized.")
        chunks, vectors = await self._chunks(document)
        citations: list[Citation] = []
        for at in sorted(_central(vectors, SENTENCES)):
            span = _best_sentence(chunks[at].text)
            if span is not None:
                centroid = vectors.mean(axis=0)
                support = float(vectors[at] @ centroid / max(1e-9, float(np.linalg.norm(centroid))))
                citations.append(await self._cite(document, chunks[at], span, len(citations) + 1, support))
        text = " ".join(f"{citation.quote} [{citation.n}]" for citation in citations)
        return Summary(document_id=document.id, summary=text, citations=citations, generated_by=self.name)

    async def _chunks(
        self, document: Document
    ) -> tuple[list[Chunk], "np.ndarray[tuple[int, int], np.dtype[np.float32]]"]:
        query = (
            select(Chunk, StoredEmbedding.vector)
            .select_from(Chunk)
            .join(Collection, col(Collection.id) == document.collection_id)
            .join(SearchIndex, col(SearchIndex.id) == col(Collection.active_index_id))
            .join(
                StoredEmbedding,
                (col(StoredEmbedding.input_hash) == col(Chunk.input_hash))
                & (col(StoredEmbedding.model_key) == col(SearchIndex.model_key)),
            )
            .where(Chunk.document_id == document.id, col(Chunk.index_id) == col(SearchIndex.id))
            .order_by(col(Chunk.ordinal))
            .limit(MAX_CHUNKS)
        )
        async with self._database.read() as session:
            rows = (await session.exec(query)).all()
        vectors = np.stack([np.frombuffer(vector, dtype=VECTOR_DTYPE).astype(np.float32) for _, vector in rows])
        return [chunk for chunk, _ in rows], vectors

    async def _cite(self, document: Document, chunk: Chunk, span: tuple[int, int], n: int, support: float) -> Citation:
        page = await self._pages.get(document.sha256, chunk.page)
        boxes = boxes_for(page, chunk.start + span[0], chunk.start + span[1])
        return Citation(
            n=n,
            chunk_id=chunk.id,
            document_id=document.id,
            document_name=document.name,
            pages=[chunk.page],
            boxes=[Box(chunk.page, *box) for box in boxes],
            quote=" ".join(chunk.text[span[0] : span[1]].split()),
            support=round(support, 4),
        )


def _central(vectors: "np.ndarray[tuple[int, int], np.dtype[np.float32]]", count: int) -> list[int]:
    """Places of the most central vectors that differ from each other (maximal marginal relevance)."""
    centroid = vectors.mean(axis=0)
    relevance = vectors @ centroid
    chosen: list[int] = []
    while len(chosen) < min(count, len(vectors)):
        repeated = (vectors @ vectors[chosen].T).max(axis=1) if chosen else np.zeros(len(vectors))
        scores = relevance - DIVERSITY * repeated
        scores[chosen] = -np.inf
        chosen.append(int(scores.argmax()))
    return chosen


def _best_sentence(text: str) -> tuple[int, int] | None:
    """The first sentence of a readable length, or the longest there is."""
    sentences = list(split_sentences(text))
    readable = [span for span in sentences if MIN_SENTENCE_CHARS <= span[1] - span[0] <= MAX_SENTENCE_CHARS]
    if readable:
        return readable[0]
    return max(sentences, key=lambda span: span[1] - span[0], default=None)
