"""The seam between the engine, which knows queues and memory, and the loaded weights, which know arithmetic."""

from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from perplex_mono.inference.embedder import EmbeddingMode, Vectors

Pause = Callable[[], None]


class EncoderInput(msgspec.Struct, frozen=True, gc=False):
    """One text: as given, and as the ids of what the model reads, prompt included and cut at the model's limit."""

    text: str
    token_ids: list[int]


class TextEncoder(Protocol):
    """Loaded weights. Several threads may call `encode` at once.

    `runtime` says how it computes, `bytes_per_token` how much working memory a batch takes beyond the weights.
    """

    @property
    def device(self) -> str: ...

    @property
    def dtype(self) -> str: ...

    @property
    def runtime(self) -> str: ...

    @property
    def model_bytes(self) -> int: ...

    @property
    def bytes_per_token(self) -> int: ...

    def encode(self, inputs: Sequence[EncoderInput], mode: EmbeddingMode, pause: Pause) -> Vectors:
        """Return one unit vector per input, in order. Calls `pause` wherever it can stand aside for a while."""
        ...

    def free_memory_bytes(self) -> int | None:
        """Return what is free on the model's own device; None where it shares the machine's memory."""
        ...

    def release_cached_memory(self) -> None: ...
