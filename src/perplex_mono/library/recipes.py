"""How a collection is cut and embedded: by the server's settings, or as its owner asks within what the model reads."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from perplex_mono.errors import ConfigurationError, InvalidInput
from perplex_mono.inference.models import EmbeddingModels
from perplex_mono.inference.tokenizer import TokenCounter
from perplex_mono.library.models import SearchIndex
from perplex_mono.library.schemas import Chunking
from perplex_mono.storage.identity import new_id

FindFault = Callable[[str, int, int, TokenCounter], str | None]
"""Says in a sentence what is wrong with a strategy, a size and an overlap in a model's tokens, or None."""


@dataclass(frozen=True)
class IndexRecipe:
    """How a collection is cut and embedded."""

    model: str
    model_key: str
    dimension: int
    chunk_strategy: str
    chunk_max_tokens: int
    chunk_overlap_tokens: int

    def cut_as(self, chunking: Chunking | None) -> "IndexRecipe":
        """The recipe with what `chunking` names instead; an overlap it does not name is at most half of a chunk."""
        if chunking is None:
            return self
        max_tokens = self.chunk_max_tokens if chunking.max_tokens is None else chunking.max_tokens
        overlap_tokens = min(self.chunk_overlap_tokens, max_tokens // 2)
        return replace(
            self,
            chunk_strategy=chunking.strategy or self.chunk_strategy,
            chunk_max_tokens=max_tokens,
            chunk_overlap_tokens=overlap_tokens if chunking.overlap_tokens is None else chunking.overlap_tokens,
        )

    def make_index(self, collection_id: str, owner_id: str) -> SearchIndex:
        """A new index by this recipe, with a vector table of its own."""
        index_id = new_id()
        return SearchIndex(
            id=index_id,
            collection_id=collection_id,
            owner_id=owner_id,
            model=self.model,
            model_key=self.model_key,
            dimension=self.dimension,
            chunk_strategy=self.chunk_strategy,
            chunk_max_tokens=self.chunk_max_tokens,
            chunk_overlap_tokens=self.chunk_overlap_tokens,
            table_name=f"index_{index_id.replace('-', '')}",
        )


class IndexRecipes:
    """Makes recipes that work: every model is on this machine, every chunk fits it."""

    def __init__(
        self, models: EmbeddingModels, find_fault: FindFault, *, strategy: str, max_tokens: int, overlap_tokens: int
    ) -> None:
        self._models = models
        self._find_fault = find_fault
        embedder = models.default.embedder
        self.default = IndexRecipe(
            models.default.name, embedder.model_key, embedder.dimension, strategy, max_tokens, overlap_tokens
        )

    def cut_as(self, chunking: Chunking | None) -> IndexRecipe:
        """The server's recipe, cut as asked. Raises `InvalidInput` when that cannot work."""
        return self._checked(self.default.cut_as(chunking), self._models.default.tokens)

    async def rebuild(self, index: SearchIndex, model: str | None, chunking: Chunking | None) -> IndexRecipe:
        """How to build the index anew: with the model named, or the one that is set now; cut as before, or as asked.

        Raises `InvalidInput` when the model is not on this machine, or chunks would not fit it.
        """
        try:
            chosen = await self._models.get(model or self._models.default.name)
        except ConfigurationError as error:
            raise InvalidInput(str(error)) from error
        recipe = IndexRecipe(
            chosen.name,
            chosen.embedder.model_key,
            chosen.embedder.dimension,
            index.chunk_strategy,
            index.chunk_max_tokens,
            index.chunk_overlap_tokens,
        )
        return self._checked(recipe.cut_as(chunking), chosen.tokens)

    def _checked(self, recipe: IndexRecipe, tokens: TokenCounter) -> IndexRecipe:
        fault = self._find_fault(recipe.chunk_strategy, recipe.chunk_max_tokens, recipe.chunk_overlap_tokens, tokens)
        if fault is not None:
            raise InvalidInput(fault)
        return recipe
