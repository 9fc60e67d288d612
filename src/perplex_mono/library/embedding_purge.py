"""Embeddings that no chunk uses any more go: those of deleted chunks with them, all others a slice at a time."""

from collections.abc import Sequence

from sqlalchemy import ColumnElement, delete, exists, not_
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from perplex_mono.library.models import Chunk, SearchIndex, StoredEmbedding
from perplex_mono.operations.models import Operation
from perplex_mono.storage.database import Database

SLICE_EMBEDDINGS = 5000
HASHES_A_STATEMENT = 400
# What an operation that runs has just computed, or found, may not have its chunk yet.
EMBEDDING_KINDS = ("ingest", "reindex")


async def list_hashes(session: AsyncSession, document_ids: Sequence[str]) -> Sequence[str]:
    """What the model read of these documents, as hashes."""
    query = select(Chunk.input_hash).where(col(Chunk.document_id).in_(document_ids)).distinct()
    return (await session.exec(query)).all()


async def purge_hashes(session: AsyncSession, hashes: Sequence[str]) -> None:
    """Remove those of these embeddings that no chunk uses, in the caller's transaction; none while others are made."""
    if await _is_embedding(session):
        return
    of_any_model = col(StoredEmbedding.model_key).in_(select(SearchIndex.model_key))
    for start in range(0, len(hashes), HASHES_A_STATEMENT):
        some = col(StoredEmbedding.input_hash).in_(hashes[start : start + HASHES_A_STATEMENT])
        await session.exec(delete(StoredEmbedding).where(of_any_model, some, _is_unused()))


async def purge_embeddings(database: Database, *, is_forced: bool = False) -> bool:
    """Remove every embedding without a chunk; False when something that embeds began, and the rest must wait.

    Forced, it goes on all the same: whoever loses an embedding that way computes it again.
    """
    async with database.read() as session:
        model_keys = (await session.exec(select(StoredEmbedding.model_key).distinct())).all()
    for model_key in model_keys:
        after: str | None = ""
        while after is not None:
            last = await _slice_end(database, model_key, after)
            async with database.write() as session:
                if not is_forced and await _is_embedding(session):
                    return False
                here = (col(StoredEmbedding.model_key) == model_key) & (col(StoredEmbedding.input_hash) > after)
                if last is not None:
                    here &= col(StoredEmbedding.input_hash) <= last
                await session.exec(delete(StoredEmbedding).where(here, _is_unused()))
            after = last
    return True


async def _slice_end(database: Database, model_key: str, after: str) -> str | None:
    query = (
        select(StoredEmbedding.input_hash)
        .where(StoredEmbedding.model_key == model_key, col(StoredEmbedding.input_hash) > after)
        .order_by(col(StoredEmbedding.input_hash))
        .offset(SLICE_EMBEDDINGS - 1)
        .limit(1)
    )
    async with database.read() as session:
        return (await session.exec(query)).first()


async def _is_embedding(session: AsyncSession) -> bool:
    query = select(Operation.id).where(col(Operation.kind).in_(EMBEDDING_KINDS), Operation.state == "running")
    return (await session.exec(query.limit(1))).first() is not None


def _is_unused() -> ColumnElement[bool]:
    """Whether no chunk of an index with the embedding's model reads the same."""
    use = exists().where(
        col(Chunk.input_hash) == col(StoredEmbedding.input_hash),
        col(Chunk.index_id) == col(SearchIndex.id),
        col(SearchIndex.model_key) == col(StoredEmbedding.model_key),
    )
    return not_(use)
