"""What was read out of documents, for people and programs that look at it: text, pages, page images, chunks."""

from sqlmodel import select

from perplex_mono.errors import Conflict, DataCorrupt, NotFound
from perplex_mono.ingestion.page_store import PageStore
from perplex_mono.ingestion.reader_pool import ReaderPool
from perplex_mono.ingestion.schemas import (
    PageText,
    PageView,
    TextView,
    WordView,
)
from perplex_mono.library.models import Chunk, Document
from perplex_mono.library.service import DocumentService
from perplex_mono.storage.blobs import BlobStore
from perplex_mono.storage.database import Database

TEXT_PAGES = 50
DRAWN_TYPES = ("application/pdf", "image/")


class ReadingService:
    """The pages of the owner's documents."""

    def __init__(
        self,
        database: Database,
        documents: DocumentService,
        blobs: BlobStore,
        pages: PageStore,
        readers: ReaderPool,
    ) -> None:
        self._database = database
        self._documents = documents
        self._blobs = blobs
        self._pages = pages
        self._readers = readers

    async def text(self, document_id: str, owner_id: str, *, first_page: int) -> TextView:
        """The text, some pages at a time. Raises `NotFound`."""
        document = await self._documents.get_row(document_id, owner_id)
        stored = self._pages.load(document.sha256, first=first_page, limit=TEXT_PAGES + 1)
        pages = [PageText(number=page.number, label=page.label, text=page.text) async for page in stored]
        more = pages[TEXT_PAGES].number if len(pages) > TEXT_PAGES else None
        return TextView(document_id=document.id, pages=pages[:TEXT_PAGES], next_page=more)

    async def page(self, document_id: str, owner_id: str, number: int) -> PageView:
        """One page with its words and their boxes. Raises `NotFound`."""
        document = await self._documents.get_row(document_id, owner_id)
        _require_page(document, number)
        page = await self._pages.get(document.sha256, number)
        return PageView(
            document_id=document.id,
            number=page.number,
            label=page.label,
            text=page.text,
            source=page.source,
            confidence=page.confidence,
            width=page.width,
            height=page.height,
            words=[
                WordView(page.text[w.start : w.end], w.start, w.end, w.x0, w.y0, w.x1, w.y1, w.confidence)
                for w in page.words
            ],
        )

    async def page_image(
        self, document_id: str, owner_id: str, number: int, *, highlight: str | None, max_side: int
    ) -> bytes:
        """The page as PNG, with the boxes of a chunk marked.

        Raises `NotFound` for the document, the page or the chunk, `Conflict` for formats that have no page image.
        """
        document = await self._documents.get_row(document_id, owner_id)
        if not document.media_type.startswith(DRAWN_TYPES):
            raise Conflict(f"Pages of {document.media_type} have no image; only PDF and images have.")
        _require_page(document, number)
        if not self._blobs.exists(document.sha256):
            raise DataCorrupt(f"The original of '{document.name}' is missing from the data directory.")
        boxes = await self._boxes(document.id, number, highlight) if highlight is not None else []
        return await self._readers.render_page(
            str(self._blobs.path(document.sha256)), document.media_type, number, max_side, boxes
        )

    async def _boxes(self, document_id: str, page: int, chunk_id: str) -> list[tuple[float, float, float, float]]:
        query = select(Chunk).where(Chunk.id == chunk_id, Chunk.document_id == document_id)
        async with self._database.read() as session:
            chunk = (await session.exec(query)).first()
        if chunk is None:
            raise NotFound("chunk", chunk_id)
        return [(box[0], box[1], box[2], box[3]) for box in chunk.boxes] if chunk.page == page else []


def _require_page(document: Document, number: int) -> None:
    """Refuse a page beyond the last; while the document is being read, nobody knows which that is."""
    if document.page_count is not None and not 1 <= number <= document.page_count:
        raise NotFound("page", str(number), f"the document has {document.page_count}")
