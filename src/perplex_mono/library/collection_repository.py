"""Reads of collections and of who may do what with them; every function works inside the caller's transaction."""

from collections.abc import Collection as Items
from collections.abc import Mapping, Sequence
from typing import get_args

from sqlmodel import col, func, select
from sqlmodel.ext.asyncio.session import AsyncSession

from perplex_mono.errors import Forbidden, NotFound
from perplex_mono.library.models import DEFAULT_COLLECTION_NAME, Access, Collection, Document, Share


def require_access(given: Access, needed: Access) -> None:
    """Raise `Forbidden` when that right is not enough; only for somebody who may see the thing."""
    rights: tuple[Access, ...] = get_args(Access)
    if rights.index(given) < rights.index(needed):
        what = "do this with it" if needed == "own" else "change what is in it"
        raise Forbidden(f"This collection is shared with you to {given}; you may not {what}.")


class CollectionRepository:
    """Collections in one session."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def get(self, key: str, user_id: str, access: Access) -> Collection:
        """By id, or the user's own default collection by the word `default`.

        Raises `NotFound` for what the user may not even read, `Forbidden` for what it may read but not do.
        """
        if key == DEFAULT_COLLECTION_NAME:
            collection = await self.find_by_name(key, user_id)
        else:
            collection = await self._session.get(Collection, key)
        given = await self.access(collection, user_id) if collection else None
        if collection is None or given is None:
            raise NotFound("collection", key)
        require_access(given, access)
        return collection

    async def access(self, collection: Collection, user_id: str) -> Access | None:
        """What the user may do with a collection; None for nothing."""
        if collection.deleted_at is not None:
            return None
        if collection.owner_id == user_id:
            return "own"
        share = await self._session.get(Share, (collection.id, user_id))
        return None if share is None else "write" if share.access == "write" else "read"

    async def find_by_name(self, name: str, owner_id: str) -> Collection | None:
        """The owner's living collection of that name."""
        query = select(Collection).where(
            Collection.owner_id == owner_id, Collection.name == name, col(Collection.deleted_at).is_(None)
        )
        return (await self._session.exec(query)).first()

    async def access_of(self, collections: Sequence[Collection], user_id: str) -> Mapping[str, Access]:
        """What the user may do with each of these living collections, all of which it may at least read."""
        foreign = [collection.id for collection in collections if collection.owner_id != user_id]
        query = select(Share.collection_id).where(
            Share.user_id == user_id, col(Share.collection_id).in_(foreign), Share.access == "write"
        )
        writable = set((await self._session.exec(query)).all()) if foreign else set()

        def access(collection: Collection) -> Access:
            if collection.owner_id == user_id:
                return "own"
            return "write" if collection.id in writable else "read"

        return {collection.id: access(collection) for collection in collections}

    async def others_exist(self, user_id: str) -> bool:
        """Whether anybody else owns a collection, as every user does from the beginning."""
        query = select(Collection.id).where(Collection.owner_id != user_id).limit(1)
        return (await self._session.exec(query)).first() is not None

    async def list_page(self, user_id: str, limit: int, after: str | None) -> Sequence[Collection]:
        """The user's own and those shared with it, oldest first, at most `limit`, after the id `after`."""
        shared = select(Share.collection_id).where(Share.user_id == user_id)
        visible = (col(Collection.owner_id) == user_id) | col(Collection.id).in_(shared)
        query = select(Collection).where(visible, col(Collection.deleted_at).is_(None))
        if after is not None:
            query = query.where(col(Collection.id) > after)
        return (await self._session.exec(query.order_by(col(Collection.id)).limit(limit))).all()

    async def count_documents(self, collection_ids: Items[str]) -> Mapping[str, int]:
        """Visible documents of each collection."""
        query = (
            select(Document.collection_id, func.count())
            .where(col(Document.collection_id).in_(collection_ids), Document.status != "deleting")
            .group_by(col(Document.collection_id))
        )
        return dict((await self._session.exec(query)).all())
