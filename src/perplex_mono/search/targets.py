"""Where a search looks: the active index of each collection, with the query's vector in that index's own model."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from sqlmodel.ext.asyncio.session import AsyncSession

from perplex_mono.errors import ConfigurationError, Unavailable
from perplex_mono.inference.embedder import Vectors
from perplex_mono.inference.models import EmbeddingModels
from perplex_mono.library.collection_repository import CollectionRepository
from perplex_mono.library.index_repository import IndexRepository
from perplex_mono.library.models import DEFAULT_COLLECTION_NAME, Collection, SearchIndex
from perplex_mono.library.repository import DocumentRepository
from perplex_mono.search.schemas import SearchFilters, SearchRequest
from perplex_mono.storage.database import Database


@dataclass(frozen=True)
class Target:
    """One index to search, the documents allowed (None: all), and the query's vector (None: words only)."""

    collection_id: str
    index: SearchIndex
    document_ids: list[str] | None
    vector: Vectors | None = None


class SearchTargets:
    """Finds the indexes of the owner's collections and asks their models."""

    def __init__(self, database: Database, models: EmbeddingModels) -> None:
        self._database = database
        self._models = models

    async def resolve(self, request: SearchRequest, owner_id: str) -> Sequence[Target]:
        """The indexes to search, without vectors. Raises `NotFound` for a collection.

        A collection has two while its active index is still being caught up: what that one lacks, the index that was
        active before has. Whatever both have must be shown once.
        """
        keys = list(dict.fromkeys(request.collection_ids or [DEFAULT_COLLECTION_NAME]))
        targets: dict[str, list[Target]] = {}
        async with self._database.read() as session:
            for key in keys:
                collection = await CollectionRepository(session).get(key, owner_id, "read")
                allowed = await _allowed(session, collection, request.filters)
                targets[collection.id] = await _targets(session, collection, allowed)
        return [target for found in targets.values() for target in found]

    async def embed(self, query: str, targets: Sequence[Target], warnings: list[str]) -> Sequence[Target]:
        """The targets, each with the query's vector; one whose model cannot compute it has none, and a warning says so.

        Raises `Unavailable` when no model can.
        """
        vectors: dict[str, Vectors] = {}
        failures: dict[str, str] = {}
        for index in {target.index.model_key: target.index for target in targets}.values():
            try:
                model = await self._models.for_index(index.model, index.model_key)
                vectors[index.model_key] = await model.embedder.embed_query(query)
            except (ConfigurationError, Unavailable) as error:
                failures[index.model_key] = str(error)
        if not vectors:
            raise Unavailable("embedding", "; ".join(failures.values()))
        warnings += [
            f"Collection {target.collection_id} was searched by words only: {failures[target.index.model_key]}"
            for target in targets
            if target.index.model_key in failures
        ]
        return [replace(target, vector=vectors.get(target.index.model_key)) for target in targets]


async def _targets(session: AsyncSession, collection: Collection, allowed: list[str] | None) -> list[Target]:
    repository = IndexRepository(session)
    active = await repository.get(collection.active_index_id)
    targets = [Target(collection.id, active, allowed)]
    fallback = await repository.find(collection.fallback_index_id) if collection.fallback_index_id else None
    if fallback is not None:
        targets.append(Target(collection.id, fallback, allowed))
    return targets


async def _allowed(session: AsyncSession, collection: Collection, filters: SearchFilters | None) -> list[str] | None:
    if filters is None:
        return None
    return await DocumentRepository(session).visible_ids(
        collection.id,
        document_ids=filters.document_ids,
        media_types=filters.media_types,
        tags=filters.tags,
        created_after=filters.created_after,
        created_before=filters.created_before,
    )
