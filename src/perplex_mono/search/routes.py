"""Search over HTTP."""

from litestar import Controller, post
from litestar.di import NamedDependency
from litestar.params import JSONBody

from perplex_mono.search.schemas import SearchRequest, SearchResponse
from perplex_mono.search.service import SearchService
from perplex_mono.web.callers import READ


class SearchController(Controller):
    """Finding passages."""

    path = "/api/v1/search"
    tags = ("search",)

    @post(opt=READ, status_code=200, summary="Find the passages that answer a query best")
    async def search(
        self, data: JSONBody[SearchRequest], searcher: NamedDependency[SearchService], owner_id: NamedDependency[str]
    ) -> SearchResponse:
        """Passages, best first, each with its place on the page."""
        return await searcher.search(data, owner_id)
