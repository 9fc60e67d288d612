"""Embeddings that no chunk uses any more go: those of deleted chunks with them, all others a slice at a time."""

from collections.abc import Sequence

from sqlalchemy import bindparam, text
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from perplex_mono.library.models import Chunk, StoredEmbedding
from perplex_mono.operations.models import Operation
from perplex_mono.storage.database import Database

SLICE_EMBEDDINGS = 5000
HASHES_A_STATEMENT = 400
# What an operation that runs has just computed, or found, may not have its chunk yet.
EMBEDDING_KINDS = ("ingest", "reindex")
PURGE_SLICE = text(
    """
    DELETE FROM embeddings WHERE model_key = :model_key AND input_hash > :after AND input_hash <= :last AND NOT EXISTS (
        SELECT 1 FROM chunks JOIN indexes ON indexes.id = chunks.index_id
        WHERE chunks.input_hash = embeddings.input_hash AND indexes.model_key = embeddings.model_key
    )
    """
)
PURGE_HASHES = text(
    """
    DELETE FROM embeddings WHERE model_key IN (SELECT model_key FROM indexes) AND input_hash IN :hashes AND NOT EXISTS (
        SELECT 1 FROM chunks JOIN indexes ON indexes.id = chunks.index_id
        WHERE chunks.input_hash = embeddings.input_hash AND indexes.model_key = embeddings.model_key
    )
    """
).bindparams(bindparam("hashes", expanding=True))


async def list_hashes(session: AsyncSession, document_ids: Sequence[str]) -> Sequence[str]:
    """What the model read of these documents, as hashes."""
    query = select(Chunk.input_hash).where(col(Chunk.document_id).in_(document_ids)).distinct()
    return (await session.exec(query)).all()


async def purge_hashes(session: AsyncSession, hashes: Sequence[str]) -> None:
    """Remove those of these embeddings that no chunk uses, in the caller's transaction; none while others are made."""
    if await _is_embedding(session):
        return
    connection = await session.connection()
    for start in range(0, len(hashes), HASHES_A_STATEMENT):
        await connection.execute(PURGE_HASHES, {"hashes": hashes[start : start + HASHES_A_STATEMENT]})


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
                connection = await session.connection()
                limits = {"model_key": model_key, "after": after, "last": last or "g"}  # beyond every hex digit
                await connection.execute(PURGE_SLICE, limits)
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
