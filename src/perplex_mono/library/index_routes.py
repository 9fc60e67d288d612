"""The indexes of a collection over HTTP."""

from litestar import Controller, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from perplex_mono.errors import Forbidden
from perplex_mono.library.index_schemas import IndexActivated, IndexList, ReindexAccepted, Reindexing
from perplex_mono.library.indexes import IndexService
from perplex_mono.library.schemas import OperationAccepted
from perplex_mono.web.callers import READ, WRITE, Caller


class IndexController(Controller):
    """How a collection is cut and embedded: change it while searches go on, and change it back."""

    path = "/api/v1/collections/{collection_id:str}"
    tags = ("indexes",)

    @get("/indexes", opt=READ, summary="List the indexes of a collection, oldest first")
    async def list_indexes(
        self,
        collection_id: FromPath[str],
        indexes: NamedDependency[IndexService],
        owner_id: NamedDependency[str],
    ) -> IndexList:
        """The active index, the one being built, and those kept to go back to."""
        return await indexes.list_indexes(collection_id, owner_id)

    @post(
        "/reindex",
        opt=WRITE,
        status_code=202,
        summary="Index a collection anew, with another model or cut in another way",
    )
    async def reindex(
        self,
        collection_id: FromPath[str],
        data: JSONBody[Reindexing],
        indexes: NamedDependency[IndexService],
        caller: NamedDependency[Caller],
    ) -> ReindexAccepted:
        """The index being built from stored pages, without OCR. Searches switch to it when it holds every document.

        Only an administrator may name a model: it may be any folder of the server's machine.
        """
        if data.model is not None and not caller.is_admin:
            raise Forbidden("Only an administrator may choose another model; other chunks you may choose yourself.")
        return await indexes.reindex(collection_id, caller.user_id, data)

    @post("/indexes/{index_id:str}/activate", opt=WRITE, status_code=200, summary="Search in an index that was kept")
    async def activate(
        self,
        collection_id: FromPath[str],
        index_id: FromPath[str],
        indexes: NamedDependency[IndexService],
        owner_id: NamedDependency[str],
    ) -> IndexActivated:
        """The index, active at once; documents it lacks are still found, and added in the background."""
        return await indexes.activate(collection_id, index_id, owner_id)

    @delete("/indexes/{index_id:str}", opt=WRITE, status_code=202, summary="Drop an index that was kept")
    async def delete_index(
        self,
        collection_id: FromPath[str],
        index_id: FromPath[str],
        indexes: NamedDependency[IndexService],
        owner_id: NamedDependency[str],
    ) -> OperationAccepted:
        """Its files and chunks go in the background."""
        return await indexes.delete(collection_id, index_id, owner_id)
