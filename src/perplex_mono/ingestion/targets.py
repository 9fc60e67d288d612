"""Where documents go: an index, with the model that computes its vectors and the way it cuts pages."""

from dataclasses import dataclass

from perplex_mono.inference.embedder import Embedder
from perplex_mono.inference.models import EmbeddingModel, EmbeddingModels
from perplex_mono.ingestion.chunking import require_fitting
from perplex_mono.library.index_repository import IndexRepository
from perplex_mono.library.models import Collection, SearchIndex
from perplex_mono.storage.database import Database


@dataclass(frozen=True)
class IndexTarget:
    """An index, and the model that its chunks are cut and embedded for."""

    index: SearchIndex
    model: EmbeddingModel

    @property
    def embedder(self) -> Embedder:
        """The engine of the model."""
        return self.model.embedder


class IndexTargets:
    """Opens indexes for writing."""

    def __init__(self, database: Database, models: EmbeddingModels) -> None:
        self._database = database
        self._models = models

    async def active(self, collection_id: str | None) -> IndexTarget | None:
        """The active index of a collection; None when the collection was deleted. Raises as `open` does."""
        async with self._database.read() as session:
            collection = await session.get(Collection, collection_id)
            if collection is None or collection.deleted_at is not None:
                return None
            index = await IndexRepository(session).get(collection.active_index_id)
        return await self.open(index)

    async def open(self, index: SearchIndex) -> IndexTarget:
        """What writes to this index. Raises `ConfigurationError` when its model is gone from this machine."""
        model = await self._models.for_index(index.model, index.model_key)
        require_fitting(index.chunk_strategy, index.chunk_max_tokens, index.chunk_overlap_tokens, model.tokens)
        return IndexTarget(index, model)
