"""Which indexes a vector table gets, when they pay, and how wide a search looks into them (docs/decisions/005)."""

import math
from collections.abc import Sequence

from lancedb.index import FTS, BTree, IvfFlat

TEXT_INDEX = "text_idx"
DOCUMENT_INDEX = "document_id_idx"
VECTOR_INDEX = "vector_idx"
NO_STEMMING = "none"

MIN_ROWS_FOR_VECTOR_INDEX = 20_000
REBUILD_GROWTH = 2.0
MAX_UNINDEXED_ROWS = 5_000
MAX_UNINDEXED_SHARE = 0.05
MAX_SMALL_FRAGMENTS = 50


def text_index(language: str) -> FTS:
    """Full-text index without positions; `language` "none" keeps words as they are, else they are stemmed."""
    if language == NO_STEMMING:
        return FTS(with_position=False, stem=False, remove_stop_words=False)
    return FTS(with_position=False, language=language, stem=True, remove_stop_words=False)


def document_index() -> BTree:
    """Scalar index that makes filters, counts and deletes by document independent of the table's size."""
    return BTree()


def vector_index(rows: int) -> IvfFlat:
    """Inverted lists of whole vectors: about sqrt(rows) lists, so lists and rows of a list grow alike."""
    return IvfFlat(distance_type="cosine", num_partitions=max(1, round(math.sqrt(rows))), sample_rate=64)


def probes(rows: int) -> int:
    """Lists to read so that recall@10 stays above 0.98 on real embeddings."""
    return max(8, round(math.sqrt(rows) * 0.1))


def needs_optimizing(rows: int, unindexed: Sequence[int], small_fragments: int) -> bool:
    """Whether searches pay more for rows outside the indexes, or for scattered files, than tidying up costs."""
    worst = max(unindexed, default=0)
    allowed = min(MAX_UNINDEXED_ROWS, max(1, rows * MAX_UNINDEXED_SHARE))
    return worst > allowed or small_fragments > MAX_SMALL_FRAGMENTS


def needs_vector_index(rows: int, rows_at_build: int | None) -> bool:
    """Whether to train the vector index: first when exact search gets slow, again when the table has doubled."""
    if rows < MIN_ROWS_FOR_VECTOR_INDEX:
        return False
    return rows_at_build is None or rows > rows_at_build * REBUILD_GROWTH
