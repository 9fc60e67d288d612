"""What was read out of documents, over HTTP."""

from typing import Annotated

from litestar import Controller, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody, PathParameter, QueryParameter

from perplex_mono.ingestion.previews import ChunkPreviewer
from perplex_mono.ingestion.schemas import ChunkPreviewRequest, ChunkPreviewView, PageView, TextView
from perplex_mono.ingestion.service import ReadingService
from perplex_mono.web.callers import READ

MAX_PAGE_NUMBER = 2**31 - 1
PageNumber = Annotated[int, PathParameter(ge=1, le=MAX_PAGE_NUMBER, description="From 1")]


class ReadingController(Controller):
    """Text, pages and page images of documents; how texts are cut."""

    path = "/api/v1"
    tags = ("documents",)

    @get("/documents/{document_id:str}/text", opt=READ, summary="Get the text of a document, some pages at a time")
    async def get_text(
        self,
        document_id: FromPath[str],
        reading: NamedDependency[ReadingService],
        owner_id: NamedDependency[str],
        page: Annotated[int, QueryParameter(ge=1, le=MAX_PAGE_NUMBER, description="The page to begin with")] = 1,
    ) -> TextView:
        """The text, page by page."""
        return await reading.text(document_id, owner_id, first_page=page)

    @get(
        "/documents/{document_id:str}/pages/{number:int}", opt=READ, summary="Get a page with its words and their boxes"
    )
    async def get_page(
        self,
        document_id: FromPath[str],
        number: PageNumber,
        reading: NamedDependency[ReadingService],
        owner_id: NamedDependency[str],
    ) -> PageView:
        """The page as it was read."""
        return await reading.page(document_id, owner_id, number)

    @get(
        "/documents/{document_id:str}/pages/{number:int}/image",
        opt=READ,
        summary="Get a page as PNG",
        media_type="image/png",
    )
    async def get_page_image(
        self,
        document_id: FromPath[str],
        number: PageNumber,
        reading: NamedDependency[ReadingService],
        owner_id: NamedDependency[str],
        highlight: Annotated[str | None, QueryParameter(description="A chunk id whose place is marked")] = None,
        max_side: Annotated[int, QueryParameter(ge=100, le=4000, description="Pixels of the longer side")] = 1600,
    ) -> Response[bytes]:
        """The page as a person sees it."""
        image = await reading.page_image(document_id, owner_id, number, highlight=highlight, max_side=max_side)
        return Response(image, media_type="image/png", headers={"Cache-Control": "private, max-age=300"})

    @post("/chunking/preview", opt=READ, status_code=200, summary="See how a text or a document would be cut")
    async def preview_chunks(
        self,
        data: JSONBody[ChunkPreviewRequest],
        previewer: NamedDependency[ChunkPreviewer],
        owner_id: NamedDependency[str],
    ) -> ChunkPreviewView:
        """The chunks with their token counts."""
        return await previewer.preview(data, owner_id)
