"""Chunks and their vectors, on the way from pages to the vector store. No text is embedded twice."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import delete, exists
from sqlalchemy.dialects.sqlite import Insert, insert
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from perplex_mono.inference.embedder import Embedder
from perplex_mono.ingestion.chunks import Chunk as ChunkText
from perplex_mono.ingestion.metrics import IngestionMetrics
from perplex_mono.ingestion.pages import Page
from perplex_mono.library.models import Chunk, IndexEntry, SearchIndex, StoredEmbedding
from perplex_mono.storage.database import Database, after_commit
from perplex_mono.storage.identity import derived_id
from perplex_mono.storage.vector_types import ChunkBatch

VECTOR_DTYPE = np.float16
ROWS_A_STATEMENT = 400
LOAD_CHUNKS = 512


@dataclass(frozen=True)
class CutPage:
    """A page and the chunks it was cut into, with the boxes of each."""

    page: Page
    chunks: Sequence[ChunkText]
    boxes: Sequence[list[tuple[float, float, float, float]]]


async def load_chunks(database: Database, document_id: str, index: SearchIndex) -> list[ChunkBatch]:
    """All chunks of a document with their vectors, as the vector store takes them."""
    batches: list[ChunkBatch] = []
    after = -1
    while True:
        query = (
            select(Chunk.id, Chunk.context + Chunk.text, Chunk.ordinal, StoredEmbedding.vector)
            .join(StoredEmbedding, col(StoredEmbedding.input_hash) == col(Chunk.input_hash))
            .where(
                Chunk.document_id == document_id,
                Chunk.index_id == index.id,
                StoredEmbedding.model_key == index.model_key,
                Chunk.ordinal > after,
            )
            .order_by(col(Chunk.ordinal))
            .limit(LOAD_CHUNKS)
        )
        async with database.read() as session:
            rows = (await session.exec(query)).all()
        if rows:
            vectors = np.frombuffer(b"".join(row[3] for row in rows), dtype=VECTOR_DTYPE)
            batches.append(
                ChunkBatch(
                    ids=[row[0] for row in rows],
                    texts=[row[1] for row in rows],
                    vectors=vectors.reshape(len(rows), index.dimension),
                )
            )
            after = rows[-1][2]
        if len(rows) < LOAD_CHUNKS:
            return batches


class ChunkStore:
    """Chunks and embeddings in SQLite."""

    def __init__(self, database: Database, metrics: IngestionMetrics) -> None:
        self._database = database
        self._metrics = metrics

    async def embed(self, embedder: Embedder, cut_pages: Sequence[CutPage]) -> dict[str, NDArray[np.float16]]:
        """Vectors of this model that the chunks of these pages need and that are not stored yet, by input hash.

        As many vectors as texts come back, or this raises what the engine raises.
        """
        inputs = {chunk.input_hash: chunk.input_text for page in cut_pages for chunk in page.chunks}
        missing = await self._missing(embedder.model_key, list(inputs))
        self._metrics.reused_embeddings.inc(sum(len(page.chunks) for page in cut_pages) - len(missing))
        if not missing:
            return {}
        vectors = await embedder.embed_documents([inputs[key] for key in missing])
        self._metrics.embedded_texts.inc(len(missing))
        return {key: vector.astype(VECTOR_DTYPE) for key, vector in zip(missing, vectors, strict=True)}

    async def add(
        self,
        session: AsyncSession,
        document_id: str,
        index: SearchIndex,
        cut_pages: Sequence[CutPage],
        first_ordinal: int,
    ) -> int:
        """Store chunks in the caller's transaction; returns their number."""
        rows: list[dict[str, object]] = []
        for cut_page in cut_pages:
            for chunk, boxes in zip(cut_page.chunks, cut_page.boxes, strict=True):
                ordinal = first_ordinal + len(rows)
                rows.append(_chunk_row(document_id, index.id, ordinal, chunk, boxes))
        await _insert(session, insert(Chunk).on_conflict_do_nothing(), rows)
        after_commit(session, partial(self._metrics.chunks.inc, len(rows)))
        return len(rows)

    @staticmethod
    async def keep(session: AsyncSession, model_key: str, vectors: Mapping[str, NDArray[np.float16]]) -> None:
        """Store vectors of a model, by input hash, in the caller's transaction."""
        embeddings: list[dict[str, object]] = [
            {"model_key": model_key, "input_hash": key, "vector": vector.tobytes()} for key, vector in vectors.items()
        ]
        await _insert(session, insert(StoredEmbedding).on_conflict_do_nothing(), embeddings)

    @staticmethod
    async def clear(session: AsyncSession, document_ids: Sequence[str]) -> None:
        """Remove the chunks that an unfinished attempt left, those no index holds, in the caller's transaction."""
        held = exists().where(
            col(IndexEntry.document_id) == col(Chunk.document_id), col(IndexEntry.index_id) == col(Chunk.index_id)
        )
        await session.exec(delete(Chunk).where(col(Chunk.document_id).in_(document_ids), ~held))

    async def _missing(self, model_key: str, hashes: Sequence[str]) -> list[str]:
        known: set[str] = set()
        async with self._database.read() as session:
            for start in range(0, len(hashes), ROWS_A_STATEMENT):
                query = select(StoredEmbedding.input_hash).where(
                    StoredEmbedding.model_key == model_key,
                    col(StoredEmbedding.input_hash).in_(hashes[start : start + ROWS_A_STATEMENT]),
                )
                known.update((await session.exec(query)).all())
        return [key for key in hashes if key not in known]


async def _insert(session: AsyncSession, statement: Insert, rows: Sequence[Mapping[str, object]]) -> None:
    """Insert many rows by one short statement: written out, their thousands of parameters take long to compile."""
    if rows:
        connection = await session.connection()
        await connection.execute(statement, rows)


def _chunk_row(
    document_id: str,
    index_id: str,
    ordinal: int,
    chunk: ChunkText,
    boxes: list[tuple[float, float, float, float]],
) -> dict[str, object]:
    return {
        "id": derived_id(document_id, index_id, str(ordinal), chunk.input_hash),
        "document_id": document_id,
        "index_id": index_id,
        "ordinal": ordinal,
        "page": chunk.page,
        "start": chunk.start,
        "end": chunk.end,
        "text": chunk.text,
        "context": chunk.input_text.removesuffix(chunk.text),
        "heading_path": list(chunk.heading_path),
        "boxes": [[round(edge, 5) for edge in box] for box in boxes],
        "token_count": chunk.token_count,
        "input_hash": chunk.input_hash,
        "parent_start": chunk.parent_start,
        "parent_end": chunk.parent_end,
    }
