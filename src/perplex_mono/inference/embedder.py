"""What the rest of the product knows of embedding: texts in, unit vectors out, and a status anyone may read."""

from collections.abc import Sequence
from typing import Literal, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]
EmbeddingMode = Literal["query", "document"]
EmbedderState = Literal["unloaded", "loading", "ready", "failed", "closed"]


class EmbedderStatus(msgspec.Struct, frozen=True):
    """One look at the embedder. Counters count from the start of the process.

    `reason` says why the state is `failed`. `batch_tokens` is what the next ingestion batch may hold, `model_bytes`
    what the loaded weights occupy. `queries_cached` came from memory, `queries_shared` joined an identical one.
    """

    state: EmbedderState
    model_key: str
    reason: str = ""
    device: str = ""
    dtype: str = ""
    runtime: str = ""
    model_bytes: int = 0
    queued_texts: int = 0
    queued_queries: int = 0
    batch_tokens: int = 0
    max_batch_tokens: int = 0
    out_of_memory_count: int = 0
    restarts: int = 0
    texts_done: int = 0
    texts_reused: int = 0
    batches_done: int = 0
    queries_done: int = 0
    queries_cached: int = 0
    queries_shared: int = 0


class Embedder(Protocol):
    """Texts to L2-normalised float32 vectors of `dimension`, in the order given, as many as texts or an error.

    `model_key` names weights, tokenizer, pooling and prompts by content: equal keys mean interchangeable vectors.
    `max_tokens` is what the model reads of one text, its special tokens included; the rest is cut off.
    """

    @property
    def model_key(self) -> str: ...

    @property
    def dimension(self) -> int: ...

    @property
    def max_tokens(self) -> int: ...

    async def embed_query(self, text: str) -> Vectors:
        """Return the vector of a question, shape `(dimension,)`, read-only. Raises `Overloaded`, `Unavailable`."""
        ...

    async def embed_documents(self, texts: Sequence[str]) -> Vectors:
        """Return the vectors of texts to be found, shape `(len(texts), dimension)`. Waits while the queue is full."""
        ...

    def status(self) -> EmbedderStatus: ...

    async def start(self) -> None:
        """Begin to serve and load the model behind; returns at once."""
        ...

    async def unload(self) -> None:
        """Free the model's memory; the next call loads it again."""
        ...

    async def close(self) -> None:
        """Fail what waits, let the batch in flight end, stop the threads."""
        ...
