"""Collections: made with an index of their own, hidden at once when deleted."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import msgspec
from sqlalchemy import update
from sqlmodel import col
from sqlmodel.ext.asyncio.session import AsyncSession

from perplex_mono.errors import Conflict, InvalidInput
from perplex_mono.library.models import DEFAULT_COLLECTION_NAME, Collection, Document, SearchIndex
from perplex_mono.library.repository import CollectionRepository
from perplex_mono.library.schemas import (
    Chunking,
    CollectionChanges,
    CollectionPage,
    CollectionView,
    NewCollection,
    OperationAccepted,
    collection_view,
)
from perplex_mono.operations.ledger import Ledger
from perplex_mono.storage.database import Database
from perplex_mono.storage.identity import new_id, utc_now

FindFault = Callable[[str, int, int], str | None]
"""Says in a sentence what is wrong with a strategy, a size and an overlap in tokens, or None."""


@dataclass(frozen=True)
class IndexRecipe:
    """How a collection is cut and embedded."""

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
            model_key=self.model_key,
            dimension=self.dimension,
            chunk_strategy=self.chunk_strategy,
            chunk_max_tokens=self.chunk_max_tokens,
            chunk_overlap_tokens=self.chunk_overlap_tokens,
            table_name=f"index_{index_id.replace('-', '')}",
        )


class CollectionService:
    """The owner's collections. `recipe` is the server's own; `find_fault` judges what a client wants instead."""

    def __init__(self, database: Database, ledger: Ledger, recipe: IndexRecipe, find_fault: FindFault) -> None:
        self._database = database
        self._ledger = ledger
        self._recipe = recipe
        self._find_fault = find_fault

    async def ensure_default(self, owner_id: str) -> None:
        """A collection `default` always exists."""
        async with self._database.read() as session:
            known = await CollectionRepository(session).find_by_name(DEFAULT_COLLECTION_NAME, owner_id)
        if known is None:
            async with self._database.write() as session:
                await self._add(session, owner_id, NewCollection(name=DEFAULT_COLLECTION_NAME), self._recipe)

    async def create(self, owner_id: str, new: NewCollection) -> CollectionView:
        """Make a collection.

        Raises `Conflict` when the owner has one of that name, `InvalidInput` when its texts cannot be cut as it says.
        """
        recipe = self.recipe_for(new.chunking)
        async with self._database.write() as session:
            await self._require_free_name(session, owner_id, new.name)
            collection, index = await self._add(session, owner_id, new, recipe)
        return collection_view(collection, index, 0)

    def recipe_for(self, chunking: Chunking | None) -> IndexRecipe:
        """How to cut and embed as asked, by the server's settings where nothing is asked. Raises `InvalidInput`."""
        recipe = self._recipe.cut_as(chunking)
        fault = self._find_fault(recipe.chunk_strategy, recipe.chunk_max_tokens, recipe.chunk_overlap_tokens)
        if fault is not None:
            raise InvalidInput(fault)
        return recipe

    async def get(self, key: str, owner_id: str) -> CollectionView:
        """By id or the word `default`. Raises `NotFound`."""
        async with self._database.read() as session:
            repository = CollectionRepository(session)
            collection = await repository.get(key, owner_id)
            return await self._view(repository, collection)

    async def list_collections(self, owner_id: str, *, limit: int, cursor: str | None) -> CollectionPage:
        """A page of the owner's collections, oldest first."""
        async with self._database.read() as session:
            repository = CollectionRepository(session)
            rows = await repository.list_page(owner_id, limit + 1, cursor)
            counts = await repository.count_documents([row.id for row in rows])
            indexes = await repository.active_indexes(rows)
        items = [collection_view(row, indexes[row.id], counts.get(row.id, 0)) for row in rows[:limit]]
        return CollectionPage(items=items, next_cursor=items[-1].id if len(rows) > limit else None)

    async def change(self, key: str, owner_id: str, changes: CollectionChanges) -> CollectionView:
        """Rename or describe. Raises `NotFound`, or `Conflict` on a taken name or the default collection."""
        async with self._database.write() as session:
            repository = CollectionRepository(session)
            collection = await repository.get(key, owner_id)
            if changes.name is not msgspec.UNSET and changes.name != collection.name:
                if collection.name == DEFAULT_COLLECTION_NAME:
                    raise Conflict("The default collection keeps its name; make another collection instead.")
                await self._require_free_name(session, owner_id, changes.name)
                collection.name = changes.name
            if changes.description is not msgspec.UNSET:
                collection.description = changes.description
            collection.updated_at = utc_now()
            return await self._view(repository, collection)

    async def delete(self, key: str, owner_id: str) -> OperationAccepted:
        """Hide the collection and its documents at once; their bytes go in the background.

        Raises `NotFound`, or `Conflict` for the default collection.
        """
        async with self._database.write() as session:
            collection = await CollectionRepository(session).get(key, owner_id)
            if collection.name == DEFAULT_COLLECTION_NAME:
                raise Conflict("The default collection always exists; delete its documents instead.")
            collection.deleted_at = utc_now()
            await session.exec(
                update(Document).where(col(Document.collection_id) == collection.id).values(status="deleting")
            )
            operation = await self._ledger.enqueue(
                session, owner_id=owner_id, kind="delete", collection_id=collection.id, total=1, unit="collections"
            )
        return OperationAccepted(operation_id=operation.id)

    @staticmethod
    async def _add(
        session: AsyncSession, owner_id: str, new: NewCollection, recipe: IndexRecipe
    ) -> tuple[Collection, SearchIndex]:
        collection_id = new_id()
        index = recipe.make_index(collection_id, owner_id)
        collection = Collection(
            id=collection_id, owner_id=owner_id, name=new.name, description=new.description, active_index_id=index.id
        )
        session.add_all([collection, index])
        await session.flush()
        return collection, index

    @staticmethod
    async def _view(repository: CollectionRepository, collection: Collection) -> CollectionView:
        counts = await repository.count_documents([collection.id])
        index = await repository.get_index(collection.active_index_id)
        return collection_view(collection, index, counts.get(collection.id, 0))

    @staticmethod
    async def _require_free_name(session: AsyncSession, owner_id: str, name: str) -> None:
        if await CollectionRepository(session).find_by_name(name, owner_id) is not None:
            raise Conflict(f"There is already a collection named '{name}'.")
