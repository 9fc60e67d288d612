"""Where documents go: an index, with the model that computes its vectors and the way it cuts pages."""

from dataclasses import dataclass

from perplex_mono.inference.embedder import Embedder
from perplex_mono.inference.models import EmbeddingModels
from perplex_mono.ingestion.chunking import make_splitter
from perplex_mono.ingestion.chunks import Splitter
from perplex_mono.library.index_repository import IndexRepository
from perplex_mono.library.models import Collection, SearchIndex
from perplex_mono.storage.database import Database


@dataclass(frozen=True)
class IndexTarget:
    """An index, and what is needed to write to it."""

    index: SearchIndex
    embedder: Embedder
    splitter: Splitter


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
        """What writes to this index. Raises `ConfigurationError` when its model is not on this machine any more."""
        model = await self._models.for_index(index.model, index.model_key)
        splitter = make_splitter(index.chunk_strategy, index.chunk_max_tokens, index.chunk_overlap_tokens, model.tokens)
        return IndexTarget(index, model.embedder, splitter)
