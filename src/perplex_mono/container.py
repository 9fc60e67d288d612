"""The one place where things are built: every service once, opened in this order and closed in reverse."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial

from perplex_mono.answers.extractive import ExtractiveWriter
from perplex_mono.answers.service import AnswerService
from perplex_mono.answers.summaries import SummaryService
from perplex_mono.doctor.index import open_mended
from perplex_mono.inference.embedder import Embedder
from perplex_mono.inference.engine import TorchEmbedder
from perplex_mono.inference.loading import find_files, load_encoder
from perplex_mono.inference.model_files import ModelFiles
from perplex_mono.inference.ocr import OcrEngine
from perplex_mono.inference.ocr_engines import open_ocr, usable_cores
from perplex_mono.inference.readiness import embedding_status, ocr_status
from perplex_mono.inference.tokenizer import TokenCounter
from perplex_mono.ingestion.attachments import AttachmentKeeper
from perplex_mono.ingestion.chunking import make_splitter
from perplex_mono.ingestion.committer import IndexCommitter
from perplex_mono.ingestion.document_states import DocumentStates
from perplex_mono.ingestion.indexing import ChunkStore
from perplex_mono.ingestion.jobs import IngestHandler
from perplex_mono.ingestion.page_reading import PageReader
from perplex_mono.ingestion.page_store import PageStore
from perplex_mono.ingestion.pipeline import IngestPipeline
from perplex_mono.ingestion.reader_pool import ReaderPool
from perplex_mono.ingestion.readers.contract import ReaderLimits
from perplex_mono.ingestion.readiness import readers_status
from perplex_mono.ingestion.service import ReadingService
from perplex_mono.library.collections import CollectionService, IndexRecipe
from perplex_mono.library.jobs import DeleteHandler
from perplex_mono.library.models import LOCAL_OWNER
from perplex_mono.library.service import DocumentService
from perplex_mono.library.uploads import UploadReceiver
from perplex_mono.operations.dispatcher import Dispatcher
from perplex_mono.operations.events import EventBus
from perplex_mono.operations.feeds import FeedService
from perplex_mono.operations.ledger import Ledger
from perplex_mono.operations.service import OperationService
from perplex_mono.search.service import SearchOptions, SearchService
from perplex_mono.settings import Settings
from perplex_mono.storage.blobs import BlobStore
from perplex_mono.storage.data_directory import DataDirectory
from perplex_mono.storage.database import Database
from perplex_mono.storage.queue import ArqDoorbell
from perplex_mono.storage.readiness import database_status, vectors_status
from perplex_mono.storage.redis_server import NO_PROGRAM, ExternalRedis, RedisEndpoint, RedisServer, find_redis_binary
from perplex_mono.storage.starting import Starting
from perplex_mono.storage.vectors import VectorStore
from perplex_mono.telemetry.metrics import Metrics
from perplex_mono.telemetry.resources import ResourceProbes
from perplex_mono.telemetry.supervision import Supervisor
from perplex_mono.web.health import HealthService, Probe
from perplex_mono.web.sockets import SocketHub

STOP_STEP_SECONDS = 5.0
DISPATCHER_STOP_SECONDS = 15.0
MAX_QUEUED_QUERIES = 256
DEFAULT_BATCH_TOKENS = 4096


@dataclass(frozen=True)
class Container:
    """What the application is made of; each name is what routes and commands ask for."""

    settings: Settings
    collections: CollectionService
    documents: DocumentService
    uploads: UploadReceiver
    reading: ReadingService
    searcher: SearchService
    answers: AnswerService
    summaries: SummaryService
    operations: OperationService
    feeds: FeedService
    hub: SocketHub
    health_service: HealthService
    metrics: Metrics
    blobs: BlobStore
    embedder: Embedder
    vectors: Starting[VectorStore]

    async def warm_up(self) -> None:
        """Begin what takes seconds: opening the index and loading the model. Returns at once."""
        self.vectors.start()
        await self.embedder.start()


@asynccontextmanager
async def open_container(
    settings: Settings,
    *,
    embedder: Embedder | None = None,
    ocr: OcrEngine | None = None,
    is_warm: bool = True,
) -> AsyncIterator[Container]:
    """Open everything for one process; what is slow to open goes on behind, and `/ready` says so.

    Without `is_warm` that begins when the caller calls `warm_up`, for example once it answers requests.
    `embedder` and `ocr` take the place of the engines that the settings name; they are closed with the rest.
    """
    async with AsyncExitStack() as stack:
        container = await _Builder(settings, stack).build(embedder, ocr)
        if is_warm:
            await container.warm_up()
        yield container


@dataclass(frozen=True)
class _Storage:
    """Where things are kept."""

    directory: DataDirectory
    database: Database
    blobs: BlobStore
    vectors: Starting[VectorStore]


@dataclass(frozen=True)
class _Inference:
    """The models."""

    tokens: TokenCounter
    embedder: Embedder
    ocr: OcrEngine


@dataclass(frozen=True)
class _Ingestion:
    """What turns documents into chunks."""

    handler: IngestHandler
    committer: IndexCommitter
    readers: ReaderPool
    pages: PageStore


class _Builder:
    """Builds from the bottom up; `stack` closes from the top down."""

    def __init__(self, settings: Settings, stack: AsyncExitStack) -> None:
        self._settings = settings
        self._stack = stack
        self._metrics = Metrics()
        self._background: list[Supervisor] = []

    async def build(self, embedder: Embedder | None, ocr: OcrEngine | None) -> Container:
        settings, limits = self._settings, self._settings.limits
        storage = await self._storage()
        inference = await self._inference(embedder, ocr)
        bus = EventBus()
        ledger = Ledger(
            storage.database,
            bus,
            lease_seconds=settings.ingestion.lease_seconds,
            max_attempts=settings.ingestion.max_attempts,
        )
        documents = DocumentService(
            storage.database,
            storage.blobs,
            ledger,
            max_name_chars=limits.max_name_chars,
            queue_documents=limits.queue_documents,
        )
        ledger.on_stopped(documents.settle_unfinished)
        ledger.on_retried(documents.requeue_unready)
        collections = CollectionService(storage.database, ledger, self._recipe(inference))
        await collections.ensure_default(LOCAL_OWNER)
        ingestion = await self._ingestion(storage, inference, ledger)
        searcher = self._searcher(storage, inference)
        dispatcher = self._dispatcher(storage, ledger, ingestion)
        queue_probe = await self._run_operations(storage, ledger, ingestion, dispatcher)
        pages, database = ingestion.pages, storage.database
        hub = SocketHub(per_user=limits.sockets_per_user, total=limits.sockets_total)
        self._metrics.sockets.set_function(lambda: hub.open_count)
        return Container(
            settings=settings,
            collections=collections,
            documents=documents,
            uploads=UploadReceiver(
                storage.blobs, max_upload_bytes=limits.max_upload_bytes, max_files=limits.max_files_per_request
            ),
            reading=ReadingService(database, documents, storage.blobs, pages, ingestion.readers, inference.tokens),
            searcher=searcher,
            answers=AnswerService(database, searcher, pages, ExtractiveWriter(inference.embedder)),
            summaries=SummaryService(database, documents, pages),
            operations=OperationService(database, ledger, dispatcher.interrupt),
            feeds=FeedService(database, bus),
            hub=hub,
            health_service=self._health(storage, inference, ingestion, queue_probe),
            metrics=self._metrics,
            blobs=storage.blobs,
            embedder=inference.embedder,
            vectors=storage.vectors,
        )

    async def _storage(self) -> _Storage:
        """Lock the data directory, migrate the database, sweep the blobs."""
        limits = self._settings.limits
        directory = DataDirectory(self._settings.data_directory).open()
        self._stack.callback(directory.close)
        database = Database(directory.database)
        self._stack.push_async_callback(database.close)
        await database.migrate()
        blobs = BlobStore(
            directory.blobs,
            reserve_bytes=limits.disk_reserve_bytes,
            reserve_fraction=limits.disk_reserve_fraction,
        )
        await asyncio.to_thread(blobs.open)
        language = self._settings.search.language
        vectors = Starting("vectors", lambda: open_mended(directory.vectors, database, fts_language=language))

        async def close_vectors() -> None:
            opened = await vectors.stop()
            if opened is not None:
                await opened.close()

        self._stack.push_async_callback(close_vectors)
        return _Storage(directory, database, blobs, vectors)

    async def _inference(self, embedder: Embedder | None, ocr: OcrEngine | None) -> _Inference:
        """Describe the models and check that chunks fit; nothing is loaded yet."""
        model = self._settings.embedding
        files = await asyncio.to_thread(find_files, model.model, allow_download=model.allow_download)
        tokens = files.token_counter()
        chunking = self._settings.chunking
        make_splitter(chunking.strategy, chunking.max_tokens, chunking.overlap_tokens, tokens)
        embedder = embedder or self._embedder(files)
        self._stack.push_async_callback(embedder.close)
        settings = self._settings.ocr
        if ocr is None:
            ocr = await asyncio.to_thread(
                open_ocr,
                settings.engine,
                threads=settings.threads,
                batch_width=settings.batch_width,
                max_queued_pages=settings.max_queued_pages,
            )
        self._stack.push_async_callback(ocr.close)
        return _Inference(tokens, embedder, ocr)

    def _embedder(self, files: ModelFiles) -> TorchEmbedder:
        settings = self._settings.embedding
        return TorchEmbedder(
            files,
            partial(load_encoder, files, device=settings.device, dtype=settings.dtype),
            max_batch_tokens=settings.max_batch_tokens or DEFAULT_BATCH_TOKENS,
            max_queued_queries=MAX_QUEUED_QUERIES,
            max_queued_texts=settings.max_queued_texts,
            query_cache_entries=settings.query_cache_size,
            idle_unload_seconds=settings.idle_unload_seconds,
            threads=settings.threads or None,
        )

    def _recipe(self, inference: _Inference) -> IndexRecipe:
        chunking, embedder = self._settings.chunking, inference.embedder
        return IndexRecipe(
            embedder.model_key, embedder.dimension, chunking.strategy, chunking.max_tokens, chunking.overlap_tokens
        )

    async def _ingestion(self, storage: _Storage, inference: _Inference, ledger: Ledger) -> _Ingestion:
        """The pipeline and its parts, from reader children to the committer."""
        settings, limits = self._settings.ingestion, self._settings.limits
        reader_limits = ReaderLimits(
            memory_bytes=settings.reader_memory_bytes,
            max_pages=limits.max_pages,
            max_image_pixels=limits.max_image_pixels,
            max_attachment_bytes=limits.max_upload_bytes,
            ocr_dpi=self._settings.ocr.dpi,
        )
        readers = ReaderPool(settings.reader_processes, settings.page_timeout_seconds, reader_limits)
        await readers.open()
        self._stack.push_async_callback(readers.close)
        pages = PageStore(storage.database)
        chunks = ChunkStore(storage.database, inference.embedder)
        committer = IndexCommitter(
            storage.database,
            ledger,
            storage.vectors,
            max_documents=settings.commit_documents,
            max_seconds=settings.commit_seconds,
        )
        states = DocumentStates(ledger, max_attempts=settings.max_attempts)
        page_reader = PageReader(
            readers,
            inference.ocr,
            pages,
            storage.blobs,
            limits=reader_limits,
            pages_ahead=(self._settings.ocr.threads or usable_cores()) + 1,
            min_confidence=self._settings.ocr.min_confidence,
        )
        attachments = AttachmentKeeper(
            ledger, storage.blobs, max_bytes=limits.max_upload_bytes, max_name_chars=limits.max_name_chars
        )
        handler = IngestHandler(
            storage.database,
            ledger,
            states,
            IngestPipeline(states, page_reader, attachments, chunks, committer),
            committer,
            inference.tokens,
            model_key=inference.embedder.model_key,
            concurrent_documents=settings.concurrent_documents,
        )
        return _Ingestion(handler, committer, readers, pages)

    def _searcher(self, storage: _Storage, inference: _Inference) -> SearchService:
        search, limits = self._settings.search, self._settings.limits
        options = SearchOptions(
            rrf_k=search.rrf_k,
            dense_weight=search.dense_weight,
            sparse_weight=search.sparse_weight,
            candidates=search.candidates,
            max_query_chars=limits.max_query_chars,
            max_limit=limits.max_k,
            timeout_seconds=search.timeout_seconds,
            cache_size=search.cache_size,
        )
        return SearchService(storage.database, storage.vectors, inference.embedder, options)

    def _dispatcher(self, storage: _Storage, ledger: Ledger, ingestion: _Ingestion) -> Dispatcher:
        deletion = DeleteHandler(storage.database, ledger, storage.blobs, storage.vectors)
        return Dispatcher(
            ledger,
            {"ingest": ingestion.handler, "delete": deletion},
            poll_seconds=self._settings.queue.poll_seconds,
            lease_seconds=self._settings.ingestion.lease_seconds,
        )

    async def _run_operations(
        self, storage: _Storage, ledger: Ledger, ingestion: _Ingestion, dispatcher: Dispatcher
    ) -> Probe:
        """Start committer, dispatcher and doorbell, having given back what an earlier process held."""
        self._metrics.operations_running.set_function(lambda: dispatcher.running_count)
        await ledger.requeue_orphans()
        await ledger.prune_events(self._settings.limits.event_retention_days)
        self._supervise("index", ingestion.committer.run)
        self._supervise("dispatcher", dispatcher.run)
        self._supervise("event_loop", self._metrics.watch_loop)
        self._stack.push_async_callback(dispatcher.stop, DISPATCHER_STOP_SECONDS)
        doorbell = await self._doorbell(storage.directory, dispatcher)
        ledger.on_queued(doorbell.ring)
        return doorbell.status

    async def _doorbell(self, directory: DataDirectory, dispatcher: Dispatcher) -> ArqDoorbell:
        queue = self._settings.queue
        endpoint: RedisEndpoint = ExternalRedis(queue.redis_url)
        if not queue.redis_url:
            await asyncio.to_thread(directory.queue.mkdir, exist_ok=True, mode=0o700)
            absent = NO_PROGRAM if queue.embedded_redis else "it is switched off (queue.embedded_redis)"
            endpoint = redis = RedisServer(
                find_redis_binary() if queue.embedded_redis else None, directory.queue, absent_reason=absent
            )
            redis.start()
            self._stack.push_async_callback(redis.stop, STOP_STEP_SECONDS)

        async def wake(_: str) -> None:
            dispatcher.wake()

        doorbell = ArqDoorbell(endpoint, wake)
        doorbell.start()
        self._stack.push_async_callback(doorbell.stop, STOP_STEP_SECONDS)
        return doorbell

    def _supervise(self, name: str, run: Callable[[], Awaitable[None]]) -> None:
        supervisor = Supervisor(name, run)
        supervisor.start()
        self._background.append(supervisor)
        self._stack.push_async_callback(supervisor.stop, STOP_STEP_SECONDS)

    def _health(
        self, storage: _Storage, inference: _Inference, ingestion: _Ingestion, queue_probe: Probe
    ) -> HealthService:
        limits = self._settings.limits
        resources = ResourceProbes(
            storage.directory.path,
            memory_fraction=limits.memory_warning_fraction,
            processor_fraction=limits.processor_warning_fraction,
        )
        return HealthService(
            self._metrics,
            vital={
                "database": partial(database_status, storage.database),
                "vectors": partial(vectors_status, storage.vectors),
            },
            others={
                "embedding": partial(embedding_status, inference.embedder),
                "ocr": partial(ocr_status, inference.ocr),
                "readers": partial(readers_status, ingestion.readers),
                "queue": queue_probe,
                **{supervisor.status().name: supervisor.status for supervisor in self._background},
                "memory": resources.memory,
                "processor": resources.processor,
                "disk": resources.disk,
            },
        )
