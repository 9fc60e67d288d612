"""Questions to one LanceDB table: which chunks are nearest to a vector, which have these words, whose are there."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager

import numpy as np
from lancedb import AsyncTable
from lancedb.expr import Expr, col
from lancedb.query import MatchQuery
from loguru import logger
from numpy.typing import NDArray

from perplex_mono.errors import Unavailable
from perplex_mono.storage import vector_indexes as indexes
from perplex_mono.storage.vector_types import VectorHit


async def nearest_chunks(
    table: AsyncTable,
    vector: NDArray[np.float32],
    limit: int,
    document_ids: Collection[str] | None,
    indexed_rows: int | None,
) -> list[VectorHit]:
    """Nearest chunks by cosine similarity, best first.

    `indexed_rows` are those that the vector index was built over; None reads every row instead of it.
    """
    if limit < 1 or (document_ids is not None and not document_ids):
        return []
    query = table.query().nearest_to(vector).distance_type("cosine").limit(limit)
    if indexed_rows is None:
        query = query.bypass_vector_index()
    else:
        # Lists beyond the probes are read only while a filter leaves fewer hits than asked for.
        query = query.maximum_nprobes(0).minimum_nprobes(indexes.probes(indexed_rows))
        query = query.refine_factor(indexes.refine_factor(limit))
    if document_ids is not None:
        query = query.where(of_documents(document_ids))
    with _damage_told(table):
        found = await query.select(["id", "document_id", "_distance"]).to_arrow()
    columns = (found.column(name).to_pylist() for name in ("id", "document_id", "_distance"))
    return [VectorHit(key, document, 1.0 - distance) for key, document, distance in zip(*columns, strict=True)]


async def chunks_with_words(
    table: AsyncTable, query_text: str, limit: int, document_ids: Collection[str] | None
) -> list[VectorHit]:
    """Best chunks by BM25 for any word of the query, best first; the text is words only, never query syntax."""
    if limit < 1 or not query_text.strip() or (document_ids is not None and not document_ids):
        return []
    # Handed over as bare text, a query between double quotes would become a phrase search, which needs positions.
    words = MatchQuery(query_text, "text")  # type: ignore[call-arg]  # pydantic defaults, which mypy cannot see
    query = table.query().nearest_to_text(words).limit(limit)
    if document_ids is not None:
        query = query.where(of_documents(document_ids))
    with _damage_told(table):
        found = await query.select(["id", "document_id", "_score"]).to_arrow()
    columns = (found.column(name).to_pylist() for name in ("id", "document_id", "_score"))
    return [VectorHit(key, document, score) for key, document, score in zip(*columns, strict=True)]


async def holds_any(table: AsyncTable, document_ids: Collection[str]) -> bool:
    """Whether it holds any, new ones included: a crash may have come between their commit and the ledger's."""
    query = table.query().where(of_documents(document_ids)).select(["document_id"]).limit(1)
    return bool((await query.to_arrow()).num_rows)


def of_documents(document_ids: Collection[str]) -> Expr:
    """The condition that a row belongs to one of these documents."""
    return col("document_id").isin(list(document_ids))


def first_line(error: BaseException) -> str:
    """What an error of Lance says: it appends its source lines and Python tracebacks to messages."""
    return str(error).partition("\n")[0][:300]


@contextmanager
def _damage_told(table: AsyncTable) -> Iterator[None]:
    """A search that fails on the table's files says so, and what to do, instead of ending as an unknown error."""
    try:
        yield
    except (RuntimeError, OSError, ValueError) as error:
        logger.error("vectors.search_failed", table=table.name, reason=first_line(error))
        hint = "`perplex-mono doctor --repair`, with the server stopped, rebuilds it"
        raise Unavailable("vectors", f"table {table.name} cannot be read; {hint}") from error
