"""Builds what turns documents into chunks: reader children, OCR and stored pages, the pipeline, the committer."""

from contextlib import AsyncExitStack
from dataclasses import dataclass

from perplex_mono.container.inference import Inference
from perplex_mono.container.library import Library
from perplex_mono.container.storage import Storage
from perplex_mono.inference.memory import usable_cores
from perplex_mono.ingestion.attachments import AttachmentKeeper
from perplex_mono.ingestion.bundles import BundleIndexer
from perplex_mono.ingestion.committer import IndexCommitter
from perplex_mono.ingestion.cutting import Cutter
from perplex_mono.ingestion.document_states import DocumentStates
from perplex_mono.ingestion.indexing import ChunkStore
from perplex_mono.ingestion.jobs import IngestHandler
from perplex_mono.ingestion.metrics import IngestionMetrics
from perplex_mono.ingestion.page_reading import PageReader
from perplex_mono.ingestion.page_store import PageStore
from perplex_mono.ingestion.pipeline import IngestPipeline
from perplex_mono.ingestion.places import URGENT_EXTRA
from perplex_mono.ingestion.reader_pool import ReaderPool
from perplex_mono.ingestion.readers.contract import ReaderLimits
from perplex_mono.ingestion.reindexing import ReindexHandler
from perplex_mono.ingestion.targets import IndexTargets
from perplex_mono.settings import Settings

# For indexing anew and previews, beside one for each document that is ingested; waiting threads cost next to nothing.
SPARE_CUTTING_THREADS = 16


@dataclass(frozen=True)
class Ingestion:
    """What turns documents into chunks."""

    handler: IngestHandler
    reindexer: ReindexHandler
    committer: IndexCommitter
    readers: ReaderPool
    pages: PageStore
    cutter: Cutter


async def open_ingestion(
    settings: Settings,
    stack: AsyncExitStack,
    storage: Storage,
    inference: Inference,
    library: Library,
    metrics: IngestionMetrics,
) -> Ingestion:
    """Build the pipeline and its parts, from reader children to the committer."""
    ledger = library.ledger
    readers, reader_limits = await _open_readers(settings, stack)
    pages = PageStore(storage.database)
    chunks = ChunkStore(storage.database, metrics)
    ingested_at_once = settings.ingestion.concurrent_documents + URGENT_EXTRA
    cutter = Cutter(threads=ingested_at_once + SPARE_CUTTING_THREADS, priority=inference.priority)
    stack.callback(cutter.close)
    targets = IndexTargets(storage.database, inference.models)
    committer = IndexCommitter(
        storage.database,
        ledger,
        storage.vectors,
        inference.priority,
        max_documents=settings.ingestion.commit_documents,
        max_seconds=settings.ingestion.commit_seconds,
    )
    states = DocumentStates(ledger, metrics, max_attempts=settings.ingestion.max_attempts)
    page_reader = _page_reader(settings, storage, inference, readers, reader_limits, pages, metrics)
    attachments = AttachmentKeeper(
        ledger,
        storage.blobs,
        max_bytes=settings.limits.max_upload_bytes,
        max_name_chars=settings.limits.max_name_chars,
    )
    handler = IngestHandler(
        storage.database,
        ledger,
        states,
        IngestPipeline(states, page_reader, attachments, cutter, chunks, committer),
        committer,
        targets,
        library.throughput,
        metrics,
        concurrent_documents=settings.ingestion.concurrent_documents,
    )
    bundles = BundleIndexer(ledger, pages, cutter, chunks, committer, inference.priority)
    reindexer = ReindexHandler(storage.database, ledger, targets, bundles)
    return Ingestion(handler, reindexer, committer, readers, pages, cutter)


def _page_reader(
    settings: Settings,
    storage: Storage,
    inference: Inference,
    readers: ReaderPool,
    limits: ReaderLimits,
    pages: PageStore,
    metrics: IngestionMetrics,
) -> PageReader:
    return PageReader(
        readers,
        inference.ocr,
        pages,
        storage.blobs,
        limits=limits,
        pages_ahead=(settings.ocr.threads or usable_cores()) + 1,
        min_confidence=settings.ocr.min_confidence,
        metrics=metrics,
    )


async def _open_readers(settings: Settings, stack: AsyncExitStack) -> tuple[ReaderPool, ReaderLimits]:
    limits = ReaderLimits(
        memory_bytes=settings.ingestion.reader_memory_bytes,
        max_pages=settings.limits.max_pages,
        max_image_pixels=settings.limits.max_image_pixels,
        max_attachment_bytes=settings.limits.max_upload_bytes,
        ocr_dpi=settings.ocr.dpi,
    )
    readers = ReaderPool(settings.ingestion.reader_processes, settings.ingestion.page_timeout_seconds, limits)
    await readers.open()
    stack.push_async_callback(readers.close)
    return readers, limits
