"""Turns a document into its pages, in order: from the store, a reader child, or OCR."""

import asyncio
import shutil
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import msgspec

from perplex_mono.errors import DocumentFailure, Overloaded, Unavailable
from perplex_mono.inference.ocr import OcrEngine, OcrPage, PageRaster
from perplex_mono.ingestion.metrics import IngestionMetrics
from perplex_mono.ingestion.ocr_layout import page_from_ocr
from perplex_mono.ingestion.page_store import PageStore
from perplex_mono.ingestion.pages import Attachment, Page, PageImage
from perplex_mono.ingestion.reader_pool import ReaderPool
from perplex_mono.ingestion.readers.contract import Opened, ReaderLimits, ReadRequest
from perplex_mono.library.models import Document
from perplex_mono.storage.blobs import BlobStore
from perplex_mono.telemetry.traces import span

OCR_FULL_SECONDS = 0.5

OnOpened = Callable[[Opened], Awaitable[None]]
OnAttachment = Callable[[Attachment], Awaitable[None]]
OnRead = Callable[[Page], Awaitable[None]]


class PageReader:
    """Reads documents page by page; memory holds a few pages, however long the document is."""

    def __init__(
        self,
        readers: ReaderPool,
        ocr: OcrEngine,
        store: PageStore,
        blobs: BlobStore,
        *,
        limits: ReaderLimits,
        pages_ahead: int,
        min_confidence: float,
        metrics: IngestionMetrics,
    ) -> None:
        self._readers = readers
        self._ocr = ocr
        self._store = store
        self._blobs = blobs
        self._limits = limits
        self._pages_ahead = pages_ahead
        self._min_confidence = min_confidence
        self._metrics = metrics

    async def read(
        self,
        document: Document,
        on_opened: OnOpened,
        on_attachment: OnAttachment,
        on_read: OnRead,
        *,
        is_urgent: bool = False,
    ) -> AsyncGenerator[Page, None]:
        """Every page, in order; those stored before come from the store.

        `on_read` is called for every other page as soon as it is read, whatever the order. Raises `DocumentFailure`
        with a reason its owner can read.
        """
        stored = await self._store.numbers(document.sha256)
        yielded = 0
        news = self._read_new(document, stored, on_opened, on_attachment, on_read, is_urgent)
        async with aclosing(news) as fresh:
            async for page in fresh:
                async for known in self._stored_between(document, stored, yielded, page.number):
                    yield known
                yield page
                yielded = page.number
        async for known in self._stored_between(document, stored, yielded, self._limits.max_pages + 1):
            yield known

    async def _stored_between(
        self, document: Document, stored: frozenset[int], after: int, before: int
    ) -> AsyncIterator[Page]:
        if not any(after < number < before for number in stored):
            return
        async for page in self._store.load(document.sha256, first=after + 1):
            if page.number >= before:
                return
            yield page

    async def _read_new(
        self,
        document: Document,
        stored: frozenset[int],
        on_opened: OnOpened,
        on_attachment: OnAttachment,
        on_read: OnRead,
        is_urgent: bool,
    ) -> AsyncGenerator[Page, None]:
        waiting: deque[asyncio.Task[Page] | Page] = deque()
        async with self._working_directory() as folder:
            request = ReadRequest(
                path=str(self._blobs.path(document.sha256)),
                name=document.name,
                media_type=document.media_type,
                attachments_dir=str(folder),
                skip_pages=stored,
                limits=self._limits,
            )
            try:
                async with aclosing(self._readers.read(request, is_urgent=is_urgent)) as items:
                    async for item in items:
                        if isinstance(item, Opened):
                            await on_opened(item)
                        elif isinstance(item, Attachment):
                            await on_attachment(item)
                        elif isinstance(item, PageImage):
                            waiting.append(asyncio.create_task(self._recognise(item, on_read, is_urgent)))
                        else:
                            await on_read(item)
                            waiting.append(item)
                        while waiting and (len(waiting) > self._pages_ahead or _is_done(waiting[0])):
                            yield await _finished(waiting.popleft())
                while waiting:
                    yield await _finished(waiting.popleft())
            finally:
                await _cancel([item for item in waiting if isinstance(item, asyncio.Task)])

    @asynccontextmanager
    async def _working_directory(self) -> AsyncIterator[Path]:
        """A folder that is gone afterwards, also when the work is cancelled while a thread is about to make it."""
        making = asyncio.create_task(asyncio.to_thread(self._blobs.working_directory))
        try:
            yield await asyncio.shield(making)
        finally:
            await asyncio.to_thread(shutil.rmtree, await making, ignore_errors=True)

    async def _recognise(self, image: PageImage, on_read: OnRead, is_urgent: bool) -> Page:
        known = await self._store.find_recognised(image.content_hash)
        if known is None:
            page = await self._run_ocr(image, is_urgent)
        else:
            page = msgspec.structs.replace(known, number=image.number, label=image.label)
        await on_read(page)
        return page

    async def _run_ocr(self, image: PageImage, is_urgent: bool) -> Page:
        raster = PageRaster(width=image.width, height=image.height, pixels=image.pixels)
        try:
            with span("ocr.page", page=image.number, engine=self._ocr.name):
                result = await self._recognise_when_free(raster, is_urgent)
        except Unavailable as error:
            raise DocumentFailure("ocr_unavailable", f"Page {image.number} needs OCR, but {error}") from error
        self._metrics.ocr_pages.inc()
        return page_from_ocr(image, result, min_confidence=self._min_confidence)

    async def _recognise_when_free(self, raster: PageRaster, is_urgent: bool) -> OcrPage:
        """Other documents may fill the line in front of OCR: a page waits for them, it does not fail."""
        while True:
            try:
                return await self._ocr.recognise(raster, is_urgent=is_urgent)
            except Overloaded:
                await asyncio.sleep(OCR_FULL_SECONDS)


def _is_done(item: asyncio.Task[Page] | Page) -> bool:
    return isinstance(item, Page) or item.done()


async def _cancel(tasks: Sequence[asyncio.Task[Page]]) -> None:
    """Stop them, and wait until they write nothing more; what went wrong in them matters to nobody now."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _finished(item: asyncio.Task[Page] | Page) -> Page:
    return item if isinstance(item, Page) else await item
