"""The indexes of a collection over HTTP."""

from litestar import Controller, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from perplex_mono.library.indexes import IndexService
from perplex_mono.library.schemas import IndexActivated, IndexList, OperationAccepted, ReindexAccepted, Reindexing


class IndexController(Controller):
    """How a collection is cut and embedded: change it while searches go on, and change it back."""

    path = "/api/v1/collections/{collection_id:str}"
    tags = ("indexes",)

    @get("/indexes", summary="List the indexes of a collection, oldest first")
    async def list_indexes(
        self,
        collection_id: FromPath[str],
        indexes: NamedDependency[IndexService],
        owner_id: NamedDependency[str],
    ) -> IndexList:
        """The active index, the one being built, and those kept to go back to."""
        return await indexes.list_indexes(collection_id, owner_id)

    @post("/reindex", status_code=202, summary="Index a collection anew, with another model or cut in another way")
    async def reindex(
        self,
        collection_id: FromPath[str],
        data: JSONBody[Reindexing],
        indexes: NamedDependency[IndexService],
        owner_id: NamedDependency[str],
    ) -> ReindexAccepted:
        """The index being built from stored pages, without OCR. Searches switch to it when it holds every document."""
        return await indexes.reindex(collection_id, owner_id, data)

    @post("/indexes/{index_id:str}/activate", status_code=200, summary="Search in an index that was kept")
    async def activate(
        self,
        collection_id: FromPath[str],
        index_id: FromPath[str],
        indexes: NamedDependency[IndexService],
        owner_id: NamedDependency[str],
    ) -> IndexActivated:
        """The index, active at once; documents it lacks are still found, and added in the background."""
        return await indexes.activate(collection_id, index_id, owner_id)

    @delete("/indexes/{index_id:str}", status_code=202, summary="Drop an index that was kept")
    async def delete_index(
        self,
        collection_id: FromPath[str],
        index_id: FromPath[str],
        indexes: NamedDependency[IndexService],
        owner_id: NamedDependency[str],
    ) -> OperationAccepted:
        """Its files and chunks go in the background."""
        return await indexes.delete(collection_id, index_id, owner_id)
