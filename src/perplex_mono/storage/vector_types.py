"""What goes into the vector store and what comes out, free of Lance, so that callers need not wait for its import."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class ChunkBatch:
    """Some chunks of one document: `vectors` has a row of the table's dimension (float16 or float32) for each id."""

    ids: Sequence[str]
    texts: Sequence[str]
    vectors: NDArray[np.float16] | NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class DocumentRows:
    """All chunks of one document version.

    `fresh` says that the table should hold no older version: it chooses the cheaper way, a wrong value is harmless.
    `batches` is consumed once, in a thread of Lance's, and may be a generator: it need not be in memory at once.
    """

    document_id: str
    fresh: bool
    batches: Iterable[ChunkBatch]


@dataclass(frozen=True, slots=True)
class VectorHit:
    """One chunk found. `score` is a cosine similarity (dense) or a BM25 score (text); higher is better."""

    id: str
    document_id: str
    score: float


@dataclass(frozen=True, slots=True)
class TableHealth:
    """Whether a table opens and counts; `reason` says what is wrong when `ok` is False."""

    name: str
    ok: bool
    rows: int
    reason: str = ""


@dataclass(frozen=True, slots=True)
class TableVerification:
    """What reading a whole table found: chunk ids by document, ids stored twice, and why reading stopped, if it did."""

    ids_by_document: dict[str, list[str]]
    duplicate_ids: list[str]
    error: str = ""


@dataclass(frozen=True, slots=True)
class Maintenance:
    """What one maintenance run did, and what the table takes on disk after it."""

    optimized: bool
    vector_index_built: bool
    rows: int
    seconds: float
    total_bytes: int
