"""The indexes of a collection: built anew beside the active one, switched to and back, dropped when not wanted."""

import asyncio
from collections.abc import Callable
from datetime import timedelta

from sqlmodel.ext.asyncio.session import AsyncSession

from perplex_mono.errors import Conflict, NotFound
from perplex_mono.library.collection_repository import CollectionRepository
from perplex_mono.library.index_repository import IndexRepository
from perplex_mono.library.index_schemas import (
    IndexActivated,
    IndexList,
    IndexView,
    ReindexAccepted,
    Reindexing,
    index_view,
)
from perplex_mono.library.models import Collection, SearchIndex
from perplex_mono.library.recipes import IndexRecipes
from perplex_mono.library.schemas import OperationAccepted
from perplex_mono.operations.ledger import Ledger
from perplex_mono.operations.models import FINAL_STATES, Operation
from perplex_mono.storage.database import Database
from perplex_mono.storage.identity import utc_now

REINDEX_PRIORITY = -1


class IndexService:
    """The indexes of the owner's collections. Every method raises `NotFound` for another owner's."""

    def __init__(
        self, database: Database, ledger: Ledger, recipes: IndexRecipes, require_space: Callable[[], None]
    ) -> None:
        self._database = database
        self._require_space = require_space
        self._ledger = ledger
        self._recipes = recipes

    async def list_indexes(self, collection_key: str, owner_id: str) -> IndexList:
        """All indexes of the collection, oldest first."""
        async with self._database.read() as session:
            collection = await CollectionRepository(session).get(collection_key, owner_id, "read")
            indexes = await IndexRepository(session).list_indexes(collection.id)
            shown = [index for index in indexes if index.state != "deleting"]
            return IndexList(items=[await _view(session, index) for index in shown])

    async def reindex(self, collection_key: str, owner_id: str, wanted: Reindexing) -> ReindexAccepted:
        """Begin to build another index; searches use the active one until the new one holds everything.

        Raises `InvalidInput` for a model that is not here or chunks that do not fit it, `Conflict` while another index
        of the collection is being built, `StorageFull`. One whose building failed for good makes way.
        """
        async with self._database.read() as session:
            collection = await CollectionRepository(session).get(collection_key, owner_id, "own")
            active = await IndexRepository(session).get(collection.active_index_id)
            await self._require_free(session, collection)
        await asyncio.to_thread(self._require_space)
        recipe = await self._recipes.rebuild(active, wanted.model, wanted.chunking)
        async with self._database.write() as session:
            collection = await CollectionRepository(session).get(collection_key, owner_id, "own")
            await self._make_way(session, collection)
            index = recipe.make_index(collection.id, owner_id)
            index.state = "building"
            session.add(index)
            operation = await self._enqueue(session, collection, index)
        return ReindexAccepted(index_id=index.id, operation_id=operation.id)

    async def activate(self, collection_key: str, index_id: str, owner_id: str) -> IndexActivated:
        """Search in a retired index again, from the next query on.

        Raises `Conflict` for an index that is still being built, and for a third one while the active one catches up.
        """
        async with self._database.write() as session:
            collection = await CollectionRepository(session).get(collection_key, owner_id, "own")
            index = await self._require(session, collection, index_id)
            if index.state == "building":
                raise Conflict("This index is still being built; it becomes active by itself when it holds everything.")
            if index.id != collection.active_index_id:
                await self._switch(session, collection, index)
            missing = await IndexRepository(session).count_missing(index)
            if missing and not await self._is_at_work(session, index):
                await self._enqueue(session, collection, index)
            view = await _view(session, index)
        return IndexActivated(
            index=view, missing_documents=missing, operation_id=view.operation_id if missing else None
        )

    async def _switch(self, session: AsyncSession, collection: Collection, index: SearchIndex) -> None:
        """Make the index active; what it lacks is found in the one that was active until now."""
        if collection.fallback_index_id not in (None, index.id):
            raise Conflict(
                "The active index is still being caught up with; wait for that,"
                f" or go back to index {collection.fallback_index_id}, which was active before it."
            )
        before = collection.active_index_id
        await IndexRepository(session).make_active(collection, index)
        collection.fallback_index_id = before if await IndexRepository(session).count_missing(index) else None

    @staticmethod
    async def _is_at_work(session: AsyncSession, index: SearchIndex) -> bool:
        """Whether an operation for this index waits or is held; one that runs may be about to end."""
        builder = await session.get(Operation, index.operation_id) if index.operation_id else None
        return builder is not None and builder.state in ("queued", "paused")

    async def delete(self, collection_key: str, index_id: str, owner_id: str) -> OperationAccepted:
        """Drop a retired index. Raises `Conflict` for one that is in use or being built."""
        async with self._database.write() as session:
            collection = await CollectionRepository(session).get(collection_key, owner_id, "own")
            index = await self._require(session, collection, index_id)
            if index.state != "retired":
                reason = "is searched in" if index.state == "active" else "is being built; cancel its operation instead"
                raise Conflict(f"This index {reason}.")
            if collection.fallback_index_id == index.id:
                raise Conflict("The active index is still catching up with this one; drop it when that is done.")
            operation = await self._drop(session, index)
        return OperationAccepted(operation_id=operation.id)

    async def settle_unfinished(self, session: AsyncSession, operation: Operation) -> None:
        """A cancelled reindexing leaves no index behind; a failed one can be retried and keeps what it built."""
        if operation.kind == "reindex" and operation.state == "cancelled":
            index = await IndexRepository(session).find(str(operation.params["index_id"]))
            if index is not None and index.state == "building":
                await self._drop(session, index)

    async def drop_expired(self, kept_days: float) -> None:
        """Drop every index that was put aside longer ago than `kept_days`, unless an active one still needs it."""
        async with self._database.read() as session:
            expired = await IndexRepository(session).list_expired(utc_now() - timedelta(days=kept_days))
        if expired:
            async with self._database.write() as session:
                for index in await IndexRepository(session).list_expired(utc_now() - timedelta(days=kept_days)):
                    await self._drop(session, index)

    async def _require_free(self, session: AsyncSession, collection: Collection) -> None:
        for index in await IndexRepository(session).list_indexes(collection.id):
            builder = await session.get(Operation, index.operation_id) if index.operation_id else None
            if builder is not None and builder.state not in FINAL_STATES:
                raise Conflict(f"Operation {builder.id} is at an index of this collection; cancel it or wait for it.")

    async def _make_way(self, session: AsyncSession, collection: Collection) -> None:
        await self._require_free(session, collection)
        for index in await IndexRepository(session).list_indexes(collection.id):
            if index.state == "building":
                await self._drop(session, index)

    async def _enqueue(self, session: AsyncSession, collection: Collection, index: SearchIndex) -> Operation:
        done, total = await IndexRepository(session).count_pages(index)
        operation = await self._ledger.enqueue(
            session,
            owner_id=collection.owner_id,
            kind="reindex",
            collection_id=collection.id,
            params={"index_id": index.id},
            total=total,
            unit="pages",
            priority=REINDEX_PRIORITY,
        )
        operation.done = done
        index.operation_id = operation.id
        return operation

    async def _drop(self, session: AsyncSession, index: SearchIndex) -> Operation:
        index.state = "deleting"
        return await self._ledger.enqueue(
            session,
            owner_id=index.owner_id,
            kind="delete",
            collection_id=index.collection_id,
            params={"index_id": index.id},
            total=1,
            unit="indexes",
        )

    @staticmethod
    async def _require(session: AsyncSession, collection: Collection, index_id: str) -> SearchIndex:
        index = await IndexRepository(session).find(index_id)
        if index is None or index.collection_id != collection.id or index.state == "deleting":
            raise NotFound("index", index_id)
        return index


async def _view(session: AsyncSession, index: SearchIndex) -> IndexView:
    counts = await IndexRepository(session).count_documents([index.id])
    return index_view(index, *counts.get(index.id, (0, 0)))
