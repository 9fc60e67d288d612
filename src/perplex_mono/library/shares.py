"""Collections shared with other users: to read, or to read and change what is in them."""

from sqlmodel import select

from perplex_mono.accounts.audit import record
from perplex_mono.accounts.models import User
from perplex_mono.accounts.repository import UserRepository
from perplex_mono.errors import Conflict, NotFound
from perplex_mono.library.collection_repository import CollectionRepository
from perplex_mono.library.models import DEFAULT_COLLECTION_NAME, Access, Share
from perplex_mono.library.schemas import NewShare, ShareList, ShareView
from perplex_mono.operations.repository import OperationRepository
from perplex_mono.storage.database import Database
from perplex_mono.web.callers import Caller


class ShareService:
    """Gives rights on collections and takes them back; both hold from the next request on.

    Whatever somebody has at work in a collection is its owner's once the right to write is gone.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def list_shares(self, collection_key: str, caller: Caller) -> ShareList:
        """Who else may use the caller's collection, by name. Raises `NotFound`, `Forbidden`."""
        async with self._database.read() as session:
            collection = await CollectionRepository(session).get(collection_key, caller.user_id, "own")
            query = (
                select(Share, User)
                .join(User, User.id == Share.user_id)  # type: ignore[arg-type]  # a column, which mypy takes for a bool
                .where(Share.collection_id == collection.id)
                .order_by(User.name_key)
            )
            rows = (await session.exec(query)).all()
        return ShareList(items=[_view(share, user) for share, user in rows])

    async def share(self, collection_key: str, new: NewShare, caller: Caller, *, address: str) -> ShareView:
        """Let a user use the caller's collection, or change how. Raises `NotFound`, `Forbidden`, `Conflict`."""
        async with self._database.write() as session:
            collection = await CollectionRepository(session).get(collection_key, caller.user_id, "own")
            if collection.name == DEFAULT_COLLECTION_NAME:
                raise Conflict("A default collection is its owner's alone; share another one.")
            user = await UserRepository(session).find_by_name(new.user)
            if user is None:
                raise NotFound("user", new.user)
            if user.id == caller.user_id:
                raise Conflict("The collection is yours already.")
            share = await session.get(Share, (collection.id, user.id))
            if share is None:
                share = Share(collection_id=collection.id, user_id=user.id, access=new.access)
                session.add(share)
            share.access = new.access
            details = {"user": user.name, "access": new.access}
            record(session, "share_set", actor=caller, target=collection.name, address=address, details=details)
            if new.access == "read":
                await OperationRepository(session).hand_over(collection.id, user.id, collection.owner_id)
        return _view(share, user)

    async def remove(self, collection_key: str, user_id: str, caller: Caller, *, address: str) -> None:
        """Take a share back, or leave one that the caller was given. Raises `NotFound`, `Forbidden`."""
        async with self._database.write() as session:
            needed: Access = "read" if user_id == caller.user_id else "own"
            collection = await CollectionRepository(session).get(collection_key, caller.user_id, needed)
            share = await session.get(Share, (collection.id, user_id))
            if share is None:
                raise NotFound("share", user_id)
            await session.delete(share)
            details = {"user_id": user_id}
            record(session, "share_removed", actor=caller, target=collection.name, address=address, details=details)
            await OperationRepository(session).hand_over(collection.id, user_id, collection.owner_id)


def _view(share: Share, user: User) -> ShareView:
    return ShareView(user_id=user.id, user=user.name, access=share.access, created_at=share.created_at)
