"""Any sentence-transformers model, through the library's own pipeline: for GPUs, and for what `packing` cannot do."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from perplex_mono.inference.device import Device
from perplex_mono.inference.embedder import EmbeddingMode, Vectors
from perplex_mono.inference.encoder import EncoderInput, Pause
from perplex_mono.inference.model_files import ModelFiles

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer


class SentenceTransformerEncoder:
    """A `SentenceTransformer` read from local safetensors, in the number format of its device.

    The library changes its tokenizer's truncation while it tokenizes, which two threads must not do at once: calls
    take turns.
    """

    runtime = "sentence-transformers"

    def __init__(self, files: ModelFiles, device: Device) -> None:
        self._device = device
        self.device = device.name
        self.dtype = device.dtype
        self._turn = threading.Lock()
        self._prompts = {"query": files.query_prompt, "document": files.document_prompt}
        self._model = _load(files, device)
        hidden = int(files.config.get("hidden_size") or files.dimension)
        heads = int(files.config.get("num_attention_heads") or 1)
        width = 4 if device.dtype == "float32" else 2
        # Padded batches with a materialised score matrix in the worst case.
        self.bytes_per_token = width * (24 * hidden + 2 * heads * files.max_tokens)
        self.model_bytes = sum(int(parameter.nbytes) for parameter in self._model.parameters())

    def encode(self, inputs: Sequence[EncoderInput], mode: EmbeddingMode, pause: Pause) -> Vectors:
        """Return unit vectors, shape `(len(inputs), dimension)`, in the order given."""
        pause()
        texts = [item.text for item in inputs]
        run = self._model.encode_query if mode == "query" else self._model.encode_document
        with self._turn:
            vectors = run(
                texts,
                prompt=self._prompts[mode],
                batch_size=len(texts),
                normalize_embeddings=True,
                show_progress_bar=False,
            )
        return cast(Vectors, np.asarray(vectors, dtype=np.float32))

    def free_memory_bytes(self) -> int | None:
        return self._device.free_memory_bytes()

    def release_cached_memory(self) -> None:
        self._device.release_cached_memory()


def _load(files: ModelFiles, device: Device) -> SentenceTransformer:
    import torch
    from sentence_transformers import SentenceTransformer

    model_kwargs: dict[str, Any] = {"dtype": getattr(torch, device.dtype)}
    if "Transformer" in files.modules:
        model_kwargs["use_safetensors"] = True
    model = SentenceTransformer(
        str(files.directory),
        device=device.name,
        local_files_only=True,
        trust_remote_code=False,
        model_kwargs=model_kwargs,
    )
    return model.eval()
