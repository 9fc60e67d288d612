"""Collections: made with an index of their own, hidden at once when deleted."""

import msgspec
from sqlalchemy import update
from sqlmodel import col
from sqlmodel.ext.asyncio.session import AsyncSession

from perplex_mono.errors import Conflict
from perplex_mono.library.collection_repository import CollectionRepository
from perplex_mono.library.index_repository import IndexRepository
from perplex_mono.library.models import DEFAULT_COLLECTION_NAME, Collection, Document, SearchIndex
from perplex_mono.library.recipes import IndexRecipe, IndexRecipes
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


class CollectionService:
    """The owner's collections."""

    def __init__(self, database: Database, ledger: Ledger, recipes: IndexRecipes) -> None:
        self._database = database
        self._ledger = ledger
        self._recipes = recipes

    async def ensure_default(self, owner_id: str) -> None:
        """A collection `default` always exists."""
        async with self._database.read() as session:
            known = await CollectionRepository(session).find_by_name(DEFAULT_COLLECTION_NAME, owner_id)
        if known is None:
            async with self._database.write() as session:
                await self.add_default(session, owner_id)

    async def add_default(self, session: AsyncSession, owner_id: str) -> None:
        """Make a new owner's collection `default` in the caller's transaction."""
        await self._add(session, owner_id, NewCollection(name=DEFAULT_COLLECTION_NAME), self._recipes.default)

    async def create(self, owner_id: str, new: NewCollection) -> CollectionView:
        """Make a collection.

        Raises `Conflict` when the owner has one of that name, `InvalidInput` when its texts cannot be cut as it says.
        """
        recipe = self._recipes.cut_as(new.chunking)
        async with self._database.write() as session:
            await self._require_free_name(session, owner_id, new.name)
            collection, index = await self._add(session, owner_id, new, recipe)
        return collection_view(collection, index, 0, "own")

    async def get(self, key: str, owner_id: str) -> CollectionView:
        """By id or the word `default`. Raises `NotFound`."""
        async with self._database.read() as session:
            repository = CollectionRepository(session)
            collection = await repository.get(key, owner_id, "read")
            return await self._view(session, collection, owner_id)

    async def list_collections(self, owner_id: str, *, limit: int, cursor: str | None) -> CollectionPage:
        """A page of the caller's collections and those shared with it, oldest first."""
        async with self._database.read() as session:
            repository = CollectionRepository(session)
            rows = await repository.list_page(owner_id, limit + 1, cursor)
            counts = await repository.count_documents([row.id for row in rows])
            indexes = await IndexRepository(session).active_indexes(rows)
            access = await repository.access_of(rows, owner_id)
        items = [collection_view(row, indexes[row.id], counts.get(row.id, 0), access[row.id]) for row in rows[:limit]]
        return CollectionPage(items=items, next_cursor=items[-1].id if len(rows) > limit else None)

    async def change(self, key: str, owner_id: str, changes: CollectionChanges) -> CollectionView:
        """Rename or describe. Raises `NotFound`, or `Conflict` on a taken name or the default collection."""
        async with self._database.write() as session:
            repository = CollectionRepository(session)
            collection = await repository.get(key, owner_id, "own")
            if changes.name is not msgspec.UNSET and changes.name != collection.name:
                if collection.name == DEFAULT_COLLECTION_NAME:
                    raise Conflict("The default collection keeps its name; make another collection instead.")
                await self._require_free_name(session, owner_id, changes.name)
                collection.name = changes.name
            if changes.description is not msgspec.UNSET:
                collection.description = changes.description
            collection.updated_at = utc_now()
            return await self._view(session, collection, owner_id)

    async def delete(self, key: str, owner_id: str) -> OperationAccepted:
        """Hide the collection and its documents at once; their bytes go in the background.

        Raises `NotFound`, or `Conflict` for the default collection.
        """
        async with self._database.write() as session:
            collection = await CollectionRepository(session).get(key, owner_id, "own")
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
    async def _view(session: AsyncSession, collection: Collection, user_id: str) -> CollectionView:
        repository = CollectionRepository(session)
        counts = await repository.count_documents([collection.id])
        index = await IndexRepository(session).get(collection.active_index_id)
        access = await repository.access(collection, user_id)
        return collection_view(collection, index, counts.get(collection.id, 0), access)

    @staticmethod
    async def _require_free_name(session: AsyncSession, owner_id: str, name: str) -> None:
        if await CollectionRepository(session).find_by_name(name, owner_id) is not None:
            raise Conflict(f"There is already a collection named '{name}'.")
