"""Sharing of collections over HTTP."""

from litestar import Controller, delete, get, put
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from perplex_mono.library.schemas import NewShare, ShareList, ShareView
from perplex_mono.library.shares import ShareService
from perplex_mono.web.callers import READ, WRITE, Caller, Identity


class ShareController(Controller):
    """Who else may use a collection."""

    path = "/api/v1/collections/{collection_id:str}/shares"
    tags = ("collections",)

    @get(opt=READ, summary="List who else may use a collection")
    async def list_shares(
        self, collection_id: FromPath[str], shares: NamedDependency[ShareService], caller: NamedDependency[Caller]
    ) -> ShareList:
        """The shares, by the users' names."""
        return await shares.list_shares(collection_id, caller)

    @put(opt=WRITE, summary="Share a collection with a user, or change how")
    async def share_collection(
        self,
        collection_id: FromPath[str],
        data: JSONBody[NewShare],
        shares: NamedDependency[ShareService],
        caller: NamedDependency[Caller],
        identity: NamedDependency[Identity],
    ) -> ShareView:
        """`read` lets the user search and open documents, `write` also add, change and delete them."""
        return await shares.share(collection_id, data, caller, address=identity.address)

    @delete("/{user_id:str}", opt=WRITE, status_code=204, summary="Take a share back, or leave one")
    async def remove_share(
        self,
        collection_id: FromPath[str],
        user_id: FromPath[str],
        shares: NamedDependency[ShareService],
        caller: NamedDependency[Caller],
        identity: NamedDependency[Identity],
    ) -> None:
        """The collection is not there for that user any more."""
        await shares.remove(collection_id, user_id, caller, address=identity.address)
