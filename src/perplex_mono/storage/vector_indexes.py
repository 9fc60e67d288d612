"""Which indexes a vector table gets, when they pay, and how wide a search looks into them (docs/decisions/005)."""

import math

from lancedb import AsyncTable
from lancedb.index import FTS, BTree, IvfRq

from perplex_mono.text_languages import NO_STEMMING

TEXT_INDEX = "text_idx"
DOCUMENT_INDEX = "document_id_idx"
VECTOR_INDEX = "vector_idx"

MIN_ROWS_FOR_VECTOR_INDEX = 10_000
ROWS_PER_LIST = 8_192
MIN_LISTS_READ = 64
LARGE_TABLE_SHARE = 0.4
REBUILD_GROWTH = 2.0
MAX_SEGMENTS = 8
MAX_UNINDEXED_ROWS = 500
MAX_FRAGMENTS = 50


def text_index(language: str) -> FTS:
    """Full-text index without positions; `language` "none" keeps all words as they are, else stop words go."""
    if language == NO_STEMMING:
        return FTS(with_position=False, stem=False, remove_stop_words=False)
    return FTS(with_position=False, language=language, stem=True, remove_stop_words=True)


def document_index() -> BTree:
    """Scalar index that makes filters, counts and deletes by document independent of the table's size."""
    return BTree()


def vector_index(rows: int) -> IvfRq:
    """One bit per dimension (RaBitQ, Gao and Long 2024) in few lists: small enough to scan whole."""
    return IvfRq(distance_type="cosine", num_partitions=_lists(rows))


async def make_missing(table: AsyncTable, language: str) -> list[str]:
    """Make the text index and the document index, over all rows, where they are not there; the names of those made."""
    there = {index.name for index in await table.list_indices()}
    if TEXT_INDEX not in there:
        await table.create_index("text", config=text_index(language), name=TEXT_INDEX)
    if DOCUMENT_INDEX not in there:
        await table.create_index("document_id", config=document_index(), name=DOCUMENT_INDEX)
    return [name for name in (TEXT_INDEX, DOCUMENT_INDEX) if name not in there]


def probes(rows: int) -> int:
    """Lists to read: all of them up to 500,000 rows, so that recall does not hang on how the data clusters."""
    return max(MIN_LISTS_READ, math.ceil(_lists(rows) * LARGE_TABLE_SHARE))


def refine_factor(limit: int) -> int:
    """How many times `limit` candidates to compare by their whole vectors; short lists need relatively more."""
    return 10 if limit <= 20 else 5


def needs_optimizing(unindexed_rows: int, fragments: int, *, idle: bool) -> bool:
    """Whether rows outside the indexes or scattered files slow searches more than tidying up costs.

    A full-text query reads every unindexed row (about 33 microseconds each), so few are left to it, and none when idle.
    """
    return unindexed_rows > (0 if idle else MAX_UNINDEXED_ROWS) or fragments > MAX_FRAGMENTS


def needs_vector_index(rows: int, rows_at_build: int | None, segments: int) -> bool:
    """Whether to train the vector index: first when exact search gets slow, again when it has grown or splintered."""
    if rows < MIN_ROWS_FOR_VECTOR_INDEX:
        return False
    return rows_at_build is None or rows > rows_at_build * REBUILD_GROWTH or segments > MAX_SEGMENTS


def _lists(rows: int) -> int:
    return max(1, rows // ROWS_PER_LIST)
