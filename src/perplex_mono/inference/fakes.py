"""Stand-ins for models, for the tests of everything that only needs vectors to come from somewhere."""

import hashlib
import re
from collections.abc import Sequence

import numpy as np

from perplex_mono.inference.embedder import EmbedderState, EmbedderStatus, Vectors

_WORD = re.compile(r"\w+")


class FakeEmbedder:
    """An `Embedder` that hashes words into a few dimensions: texts that share words are near, and runs never differ.

    `calls` records the texts of every document call. `error`, when set, is raised by the next calls.
    """

    def __init__(self, dimension: int = 32, max_tokens: int = 256) -> None:
        self.dimension = dimension
        self.max_tokens = max_tokens
        self.model_key = f"fake-{dimension}"
        self.calls: list[list[str]] = []
        self.error: Exception | None = None
        self._state: EmbedderState = "ready"
        self._queries = 0

    async def embed_query(self, text: str) -> Vectors:
        """Return the same vector as `embed_documents` would."""
        self._raise_error()
        self._queries += 1
        return self._embed(text)

    async def embed_documents(self, texts: Sequence[str]) -> Vectors:
        """Return unit vectors, shape `(len(texts), dimension)`."""
        self._raise_error()
        self.calls.append(list(texts))
        vectors = np.empty((len(texts), self.dimension), dtype=np.float32)
        for index, text in enumerate(texts):
            vectors[index] = self._embed(text)
        return vectors

    def status(self) -> EmbedderStatus:
        return EmbedderStatus(
            state=self._state,
            model_key=self.model_key,
            device="cpu",
            dtype="float32",
            runtime="fake",
            texts_done=sum(len(texts) for texts in self.calls),
            queries_done=self._queries,
        )

    async def start(self) -> None:
        self._state = "ready"

    async def unload(self) -> None:
        self._state = "unloaded"

    async def close(self) -> None:
        self._state = "closed"

    def _raise_error(self) -> None:
        if self.error is not None:
            raise self.error

    def _embed(self, text: str) -> Vectors:
        vector = np.zeros(self.dimension, dtype=np.float32)
        vector[0] = 1e-3  # a text without words still has a direction
        for word in _WORD.findall(text.casefold()):
            digest = hashlib.blake2b(word.encode("utf-8", "replace"), digest_size=8).digest()
            sign = 1.0 if digest[4] & 1 else -1.0
            vector[int.from_bytes(digest[:4], "little") % self.dimension] += sign
        norm = float(np.linalg.norm(vector))
        return (vector / norm).astype(np.float32) if norm else np.eye(1, self.dimension, dtype=np.float32)[0]
