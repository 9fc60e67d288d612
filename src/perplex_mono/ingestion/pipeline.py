"""One document, from stored bytes to searchable chunks: the steps, top to bottom."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

from perplex_mono.errors import DocumentFailure
from perplex_mono.ingestion.attachments import AttachmentKeeper
from perplex_mono.ingestion.chunks import Outline
from perplex_mono.ingestion.committer import IndexCommitter
from perplex_mono.ingestion.cutting import Cutter
from perplex_mono.ingestion.document_states import DocumentStates, Reading
from perplex_mono.ingestion.indexing import ChunkStore, CutPage
from perplex_mono.ingestion.page_reading import PageReader
from perplex_mono.ingestion.pages import Attachment, Page
from perplex_mono.ingestion.prepared import PreparedDocument
from perplex_mono.ingestion.readers.contract import Opened
from perplex_mono.ingestion.targets import IndexTarget
from perplex_mono.library.models import Document
from perplex_mono.operations.ledger import Claim
from perplex_mono.operations.progress import DocumentProgress
from perplex_mono.operations.turns import is_urgent
from perplex_mono.telemetry.traces import span

BATCH_PAGES = 16
BATCH_CHARS = 60_000
BATCHES_AHEAD = 2


@dataclass(frozen=True)
class Work:
    """What is being ingested, for whom, and where it goes."""

    claim: Claim
    document: Document
    target: IndexTarget
    progress: DocumentProgress
    leave_place: Callable[[], None]
    reading: Reading = field(default_factory=Reading)


class IngestPipeline:
    """read -> cut -> embed -> commit, streaming: memory does not depend on how long the document is."""

    def __init__(
        self,
        states: DocumentStates,
        reader: PageReader,
        attachments: AttachmentKeeper,
        cutter: Cutter,
        chunks: ChunkStore,
        committer: IndexCommitter,
    ) -> None:
        self._states = states
        self._reader = reader
        self._attachments = attachments
        self._cutter = cutter
        self._chunks = chunks
        self._committer = committer

    async def ingest(self, work: Work) -> None:
        """Make the document searchable, whole, exactly once, however often this is run.

        Raises `DocumentFailure` when it cannot be, `StaleLease` when the work went to someone else.
        """
        document = work.document
        is_fed = work.claim.parent_id is not None  # a scan finds thousands of documents: more than one trace can hold
        with span("ingest.document", is_root=is_fed, document_id=document.id, bytes=document.size_bytes):
            await self._states.begin(work.claim, work.document)
            pages, chunks = 0, 0
            outline: Outline = ()
            async with aclosing(self._read_ahead(work)) as batches:
                async for batch in batches:
                    cut_pages, outline = await self._cut(work, batch, outline)
                    chunks += await self._embed(work, cut_pages, chunks)
                    pages += len(batch)
            if chunks == 0:
                raise DocumentFailure("no_text", "No text was found in it, neither stored nor by OCR.")
            work.leave_place()
            await self._commit(work, pages, chunks)

    async def _read_ahead(self, work: Work) -> AsyncGenerator[list[Page], None]:
        """Batches of pages, read while the batches before are embedded."""
        ready: asyncio.Queue[list[Page] | None] = asyncio.Queue(maxsize=BATCHES_AHEAD)

        async def produce() -> None:
            with span("ingest.read", media_type=work.document.media_type):
                async with aclosing(self._read(work)) as batches:
                    async for batch in batches:
                        await ready.put(batch)
            await ready.put(None)

        producer = asyncio.create_task(produce())
        taking: asyncio.Task[list[Page] | None] | None = None
        try:
            while True:
                taking = asyncio.create_task(ready.get())
                await asyncio.wait((taking, producer), return_when=asyncio.FIRST_COMPLETED)
                if not taking.done() and producer.done() and producer.exception() is not None:
                    break
                batch = await taking
                if batch is None:
                    break
                yield batch
        finally:
            if taking is not None:
                taking.cancel()
            producer.cancel()
            await asyncio.wait((producer,))
        producer.result()

    async def _read(self, work: Work) -> AsyncGenerator[list[Page], None]:
        """Batches of pages; what OCR read is stored at once, other pages with their chunks."""

        async def opened(item: Opened) -> None:
            if item.page_count is not None:
                work.progress.expect_pages(item.page_count)
            work.reading.opened = item

        async def attached(item: Attachment) -> None:
            if await self._attachments.keep(work.claim, work.document, item):
                work.progress.expect_attachment()

        async def read(page: Page) -> None:
            work.reading.pages.append(page)
            if page.source == "ocr":
                await self._states.checkpoint(work.claim, work.document, work.reading)

        batch: list[Page] = []
        urgent = is_urgent(work.claim)
        pages = self._reader.read(work.document, opened, attached, read, is_urgent=urgent)
        async with aclosing(pages) as stream:
            async for page in stream:
                batch.append(page)
                is_full = len(batch) >= BATCH_PAGES or sum(len(page.text) for page in batch) >= BATCH_CHARS
                if is_full or page.source == "ocr":
                    yield batch
                    batch = []
        if batch:
            yield batch

    async def _cut(self, work: Work, pages: Sequence[Page], outline: Outline) -> tuple[list[CutPage], Outline]:
        with span("ingest.cut", pages=len(pages)):
            return await self._cutter.cut(work.target, pages, outline)

    async def _embed(self, work: Work, cut_pages: Sequence[CutPage], first_ordinal: int) -> int:
        with span("ingest.embed", chunks=sum(len(page.chunks) for page in cut_pages)):
            vectors = await self._chunks.embed(work.target.embedder, cut_pages)
            pages = [cut.page for cut in cut_pages]
            async with self._states.page_step(work.claim, work.document, pages, work.reading) as session:
                index = work.target.index
                count = await self._chunks.add(session, work.document.id, index, cut_pages, first_ordinal)
                await self._chunks.keep(session, index.model_key, vectors)
        work.progress.advance(len(cut_pages), cut_pages[-1].page.number)
        return count

    async def _commit(self, work: Work, pages: int, chunks: int) -> None:
        with span("ingest.commit", chunks=chunks):
            await self._committer.commit(
                PreparedDocument(work.claim, work.document.id, work.document.name, work.target.index, pages, chunks)
            )
