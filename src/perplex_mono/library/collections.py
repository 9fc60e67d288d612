"""Collections: made with an index of their own, hidden at once when deleted."""

from dataclasses import dataclass

import msgspec
from sqlalchemy import update
from sqlmodel import col
from sqlmodel.ext.asyncio.session import AsyncSession

from perplex_mono.errors import Conflict
from perplex_mono.library.models import DEFAULT_COLLECTION_NAME, Collection, Document, SearchIndex
from perplex_mono.library.repository import CollectionRepository
from perplex_mono.library.schemas import (
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


@dataclass(frozen=True)
class IndexRecipe:
    """How new collections are cut and embedded."""

    model_key: str
    dimension: int
    chunk_strategy: str
    chunk_max_tokens: int
    chunk_overlap_tokens: int


class CollectionService:
    """The owner's collections."""

    def __init__(self, database: Database, ledger: Ledger, recipe: IndexRecipe) -> None:
        self._database = database
        self._ledger = ledger
        self._recipe = recipe

    async def ensure_default(self, owner_id: str) -> None:
        """A collection `default` always exists."""
        async with self._database.read() as session:
            known = await CollectionRepository(session).find_by_name(DEFAULT_COLLECTION_NAME, owner_id)
        if known is None:
            async with self._database.write() as session:
                await self._add(session, owner_id, NewCollection(name=DEFAULT_COLLECTION_NAME))

    async def create(self, owner_id: str, new: NewCollection) -> CollectionView:
        """Make a collection. Raises `Conflict` when the owner has one of that name."""
        async with self._database.write() as session:
            await self._require_free_name(session, owner_id, new.name)
            return collection_view(await self._add(session, owner_id, new), 0)

    async def get(self, key: str, owner_id: str) -> CollectionView:
        """By id or the word `default`. Raises `NotFound`."""
        async with self._database.read() as session:
            repository = CollectionRepository(session)
            collection = await repository.get(key, owner_id)
            counts = await repository.count_documents([collection.id])
        return collection_view(collection, counts.get(collection.id, 0))

    async def list_collections(self, owner_id: str, *, limit: int, cursor: str | None) -> CollectionPage:
        """A page of the owner's collections, oldest first."""
        async with self._database.read() as session:
            repository = CollectionRepository(session)
            rows = await repository.list_page(owner_id, limit + 1, cursor)
            counts = await repository.count_documents([row.id for row in rows])
        items = [collection_view(row, counts.get(row.id, 0)) for row in rows[:limit]]
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
            counts = await repository.count_documents([collection.id])
        return collection_view(collection, counts.get(collection.id, 0))

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

    async def _add(self, session: AsyncSession, owner_id: str, new: NewCollection) -> Collection:
        index_id, collection_id = new_id(), new_id()
        collection = Collection(
            id=collection_id, owner_id=owner_id, name=new.name, description=new.description, active_index_id=index_id
        )
        index = SearchIndex(
            id=index_id,
            collection_id=collection_id,
            owner_id=owner_id,
            model_key=self._recipe.model_key,
            dimension=self._recipe.dimension,
            chunk_strategy=self._recipe.chunk_strategy,
            chunk_max_tokens=self._recipe.chunk_max_tokens,
            chunk_overlap_tokens=self._recipe.chunk_overlap_tokens,
            table_name=f"index_{index_id.replace('-', '')}",
        )
        session.add_all([collection, index])
        await session.flush()
        return collection

    @staticmethod
    async def _require_free_name(session: AsyncSession, owner_id: str, name: str) -> None:
        if await CollectionRepository(session).find_by_name(name, owner_id) is not None:
            raise Conflict(f"There is already a collection named '{name}'.")
