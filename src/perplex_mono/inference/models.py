"""The embedding models in use: the one that is set, and those that older indexes were built with, opened on demand."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from loguru import logger

from perplex_mono.errors import ConfigurationError
from perplex_mono.inference.embedder import Embedder, EmbedderStatus
from perplex_mono.inference.tokenizer import TokenCounter


@dataclass(frozen=True)
class EmbeddingModel:
    """A model by its name or folder, the engine that computes it, and its tokens."""

    name: str
    embedder: Embedder
    tokens: TokenCounter


OpenModel = Callable[[str], EmbeddingModel]
"""Finds a model by name and describes it, not started; blocks. Raises `ConfigurationError` where there is none."""


class EmbeddingModels:
    """Every model of the process, one engine each. An index keeps its model however the setting changes."""

    def __init__(self, default: EmbeddingModel, open_model: OpenModel) -> None:
        self.default = default
        self._open_model = open_model
        self._opened = {default.embedder.model_key: default}
        self._names = {default.name: default.embedder.model_key}
        self._opening = asyncio.Lock()

    async def get(self, name: str) -> EmbeddingModel:
        """The model of that name, started. Raises `ConfigurationError` when it is not on this machine.

        The same model by another name, or another spelling of its folder, is not opened twice.
        """
        if name not in self._names:
            async with self._opening:
                if name not in self._names:
                    self._names[name] = await self._open(name)
        return self._opened[self._names[name]]

    async def _open(self, name: str) -> str:
        try:
            model = await asyncio.to_thread(self._open_model, name)
        except OSError as error:
            raise ConfigurationError(f"The embedding model '{name}' cannot be read: {error}") from error
        key = model.embedder.model_key
        if key in self._opened:
            await model.embedder.close()
        else:
            await model.embedder.start()
            self._opened[key] = model
            logger.info("embedding.model_opened", model=name, model_key=key)
        return key

    async def for_index(self, name: str, model_key: str) -> EmbeddingModel:
        """The very model an index was built with. Raises `ConfigurationError` when it is gone or another one now."""
        for model in self._opened.values():
            if model.embedder.model_key == model_key:
                return model
        advice = "put it back, or index the collection anew with another model (reindex)"
        try:
            model = await self.get(name)
        except ConfigurationError as error:
            raise ConfigurationError(
                f"The embedding model '{name}' of this index is gone: {error} So {advice}."
            ) from error
        if model.embedder.model_key != model_key:
            raise ConfigurationError(
                f"The embedding model '{name}' is not the one this index was built with; {advice}."
            )
        return model

    def statuses(self) -> list[EmbedderStatus]:
        """How the engine of every opened model is, the default's first."""
        return [model.embedder.status() for model in list(self._opened.values())]

    async def close(self) -> None:
        """Close every engine."""
        for model in self._opened.values():
            await model.embedder.close()
