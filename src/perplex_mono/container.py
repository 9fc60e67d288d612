"""The one place where things are built: every service once, opened in this order and closed in reverse."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

from perplex_mono.answers.extractive import ExtractiveWriter
from perplex_mono.answers.service import AnswerService
from perplex_mono.answers.summaries import SummaryService
from perplex_mono.inference.embedder import Embedder
from perplex_mono.inference.engine import TorchEmbedder
from perplex_mono.inference.loading import load_encoder
from perplex_mono.inference.model_files import BUNDLED_MODEL, BUNDLED_SHA256, ModelFiles, describe_model, find_model
from perplex_mono.inference.ocr import OcrEngine
from perplex_mono.inference.ocr_engines import open_ocr, usable_cores
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
from perplex_mono.ingestion.service import ReadingService
from perplex_mono.library.collections import CollectionService, IndexRecipe
from perplex_mono.library.jobs import DeleteHandler
from perplex_mono.library.models import LOCAL_OWNER
from perplex_mono.library.service import DocumentService
from perplex_mono.library.uploads import UploadReceiver
from perplex_mono.operations.dispatcher import Dispatcher
from perplex_mono.operations.events import EventBus
from perplex_mono.operations.feeds import FeedService
from perplex_mono.operations.service import Ledger
from perplex_mono.search.service import SearchOptions, SearchService
from perplex_mono.settings import Settings
from perplex_mono.storage.blobs import BlobStore
from perplex_mono.storage.data_directory import DataDirectory
from perplex_mono.storage.database import Database
from perplex_mono.storage.queue import ArqDoorbell
from perplex_mono.storage.redis_server import ExternalRedis, RedisServer, find_redis_binary
from perplex_mono.storage.starting import Starting
from perplex_mono.storage.vectors import VectorStore
from perplex_mono.telemetry.metrics import Metrics
from perplex_mono.telemetry.resources import ResourceProbes
from perplex_mono.telemetry.supervision import ComponentStatus, Supervisor
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
    ledger: Ledger
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


class _Builder:
    """Opens the floors from the bottom up; `stack` closes them from the top down."""

    def __init__(self, settings: Settings, stack: AsyncExitStack) -> None:
        self._settings = settings
        self._stack = stack
        self._metrics = Metrics()
        self._background: list[Supervisor] = []

    async def build(self, embedder: Embedder | None, ocr: OcrEngine | None) -> Container:
        settings, limits = self._settings, self._settings.limits
        directory = DataDirectory(settings.data_directory).open()
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
        vectors = self._vectors(directory)
        files = await asyncio.to_thread(self._model_files)
        embedder = embedder or self._embedder(files)
        self._stack.push_async_callback(embedder.close)
        ocr = ocr or await self._ocr()
        self._stack.push_async_callback(ocr.close)
        readers = await self._readers()

        bus = EventBus()
        ingestion = settings.ingestion
        ledger = Ledger(database, bus, lease_seconds=ingestion.lease_seconds, max_attempts=ingestion.max_attempts)
        documents = DocumentService(
            database,
            blobs,
            ledger,
            max_name_chars=limits.max_name_chars,
            queue_documents=limits.queue_documents,
        )
        chunking = settings.chunking
        recipe = IndexRecipe(
            embedder.model_key, embedder.dimension, chunking.strategy, chunking.max_tokens, chunking.overlap_tokens
        )
        collections = CollectionService(database, ledger, recipe)
        await collections.ensure_default(LOCAL_OWNER)
        pages = PageStore(database)
        chunks = ChunkStore(database, embedder)
        committer = IndexCommitter(
            ledger,
            chunks,
            vectors,
            max_documents=ingestion.commit_documents,
            max_seconds=ingestion.commit_seconds,
        )
        states = DocumentStates(ledger, max_attempts=ingestion.max_attempts)
        page_reader = PageReader(
            readers,
            ocr,
            pages,
            blobs,
            limits=self._reader_limits(),
            pages_ahead=(settings.ocr.threads or usable_cores()) + 1,
            min_confidence=settings.ocr.min_confidence,
        )
        attachments = AttachmentKeeper(
            ledger, blobs, max_bytes=limits.max_upload_bytes, max_name_chars=limits.max_name_chars
        )
        pipeline = IngestPipeline(states, page_reader, attachments, chunks, committer)
        tokens = files.token_counter()
        make_splitter(chunking.strategy, chunking.max_tokens, chunking.overlap_tokens, tokens)
        ingest = IngestHandler(
            database,
            ledger,
            states,
            pipeline,
            committer,
            tokens,
            model_key=embedder.model_key,
            concurrent_documents=ingestion.concurrent_documents,
        )
        dispatcher = Dispatcher(
            ledger,
            {"ingest": ingest, "delete": DeleteHandler(database, ledger, blobs, vectors)},
            poll_seconds=settings.queue.poll_seconds,
            lease_seconds=ingestion.lease_seconds,
        )
        search = settings.search
        searcher = SearchService(
            database,
            vectors,
            embedder,
            SearchOptions(
                rrf_k=search.rrf_k,
                dense_weight=search.dense_weight,
                sparse_weight=search.sparse_weight,
                candidates=search.candidates,
                max_query_chars=limits.max_query_chars,
                max_limit=limits.max_k,
                timeout_seconds=search.timeout_seconds,
            ),
        )
        hub = SocketHub(per_user=limits.sockets_per_user, total=limits.sockets_total)
        queue_status = await self._run_operations(directory, ledger, dispatcher, committer)
        health_service = HealthService(
            self._metrics,
            vital={"database": partial(_database_status, database), "vectors": partial(_vectors_status, vectors)},
            others={
                "embedding": partial(_embedding_status, embedder),
                "ocr": partial(_ocr_status, ocr),
                "readers": partial(_readers_status, readers),
                "queue": queue_status,
                **{supervisor.status().name: supervisor.status for supervisor in self._background},
                **self._resource_probes(directory),
            },
        )
        return Container(
            settings=settings,
            collections=collections,
            documents=documents,
            uploads=UploadReceiver(
                blobs, max_upload_bytes=limits.max_upload_bytes, max_files=limits.max_files_per_request
            ),
            reading=ReadingService(database, documents, blobs, pages, readers, tokens),
            searcher=searcher,
            answers=AnswerService(database, searcher, pages, ExtractiveWriter(embedder)),
            summaries=SummaryService(database, documents, pages),
            ledger=ledger,
            feeds=FeedService(database, bus),
            hub=hub,
            health_service=health_service,
            metrics=self._metrics,
            blobs=blobs,
            embedder=embedder,
            vectors=vectors,
        )

    def _vectors(self, directory: DataDirectory) -> Starting[VectorStore]:
        vectors = Starting(
            "vectors", lambda: VectorStore.open(directory.vectors, fts_language=self._settings.search.language)
        )

        async def close() -> None:
            opened = await vectors.stop()
            if opened is not None:
                await opened.close()

        self._stack.push_async_callback(close)
        return vectors

    def _model_files(self) -> ModelFiles:
        settings = self._settings.embedding
        is_bundled = settings.model == BUNDLED_MODEL
        directory = find_model(settings.model, allow_download=settings.allow_download)
        return describe_model(directory, expected_sha256=BUNDLED_SHA256 if is_bundled else None)

    def _embedder(self, files: ModelFiles) -> Embedder:
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

    async def _ocr(self) -> OcrEngine:
        settings = self._settings.ocr
        return await asyncio.to_thread(
            open_ocr,
            settings.engine,
            threads=settings.threads,
            batch_width=settings.batch_width,
            max_queued_pages=settings.max_queued_pages,
        )

    async def _readers(self) -> ReaderPool:
        settings = self._settings.ingestion
        readers = ReaderPool(settings.reader_processes, settings.page_timeout_seconds, self._reader_limits())
        await readers.open()
        self._stack.push_async_callback(readers.close)
        return readers

    def _reader_limits(self) -> ReaderLimits:
        limits = self._settings.limits
        return ReaderLimits(
            memory_bytes=self._settings.ingestion.reader_memory_bytes,
            max_pages=limits.max_pages,
            max_image_pixels=limits.max_image_pixels,
            max_attachment_bytes=limits.max_upload_bytes,
            ocr_dpi=self._settings.ocr.dpi,
        )

    async def _run_operations(
        self, directory: DataDirectory, ledger: Ledger, dispatcher: Dispatcher, committer: IndexCommitter
    ) -> Probe:
        """Start the committer, the dispatcher and the doorbell, having given back what an earlier process held."""
        await ledger.requeue_orphans()
        await ledger.prune_events(self._settings.limits.event_retention_days)
        self._supervise("index", committer.run)
        self._supervise("dispatcher", dispatcher.run)
        self._supervise("event_loop", self._metrics.watch_loop)
        self._stack.push_async_callback(dispatcher.stop, DISPATCHER_STOP_SECONDS)
        queue = self._settings.queue
        redis = None
        if not queue.redis_url:
            binary = find_redis_binary() if queue.embedded_redis else None
            redis = RedisServer(binary, directory.queue)
            await asyncio.to_thread(directory.queue.mkdir, exist_ok=True, mode=0o700)
            redis.start()
            self._stack.push_async_callback(redis.stop, STOP_STEP_SECONDS)

        async def wake(_: str) -> None:
            dispatcher.wake()

        doorbell = ArqDoorbell(redis or ExternalRedis(queue.redis_url), wake)
        doorbell.start()
        self._stack.push_async_callback(doorbell.stop, STOP_STEP_SECONDS)
        ledger.on_queued(doorbell.ring)
        return doorbell.status

    def _supervise(self, name: str, run: Callable[[], Awaitable[None]]) -> None:
        supervisor = Supervisor(name, run)
        supervisor.start()
        self._background.append(supervisor)
        self._stack.push_async_callback(supervisor.stop, STOP_STEP_SECONDS)

    def _resource_probes(self, directory: DataDirectory) -> dict[str, Probe]:
        limits = self._settings.limits
        probes = ResourceProbes(
            directory.path,
            memory_fraction=limits.memory_warning_fraction,
            processor_fraction=limits.processor_warning_fraction,
        )
        return {"memory": probes.memory, "processor": probes.processor, "disk": probes.disk}


async def _database_status(database: Database) -> ComponentStatus:
    await database.check()
    return ComponentStatus("database", "ok", None, datetime.now(UTC))


async def _vectors_status(vectors: Starting[VectorStore]) -> ComponentStatus:
    status = vectors.status()
    if status.state != "ok":
        return status
    broken = [table for table in await vectors.get().health() if not table.ok]
    if not broken:
        return status
    reason = "; ".join(f"{table.name}: {table.reason}" for table in broken)
    return ComponentStatus("vectors", "degraded", reason, status.since)


def _embedding_status(embedder: Embedder) -> ComponentStatus:
    status = embedder.status()
    is_well = status.state in ("ready", "unloaded")
    reason = None if is_well else status.reason or f"the model is {status.state}"
    return ComponentStatus("embedding", "ok" if is_well else "degraded", reason, datetime.now(UTC), status.restarts)


def _ocr_status(ocr: OcrEngine) -> ComponentStatus:
    status = ocr.status()
    is_well = status.state in ("idle", "ready", "loading") and status.reason is None
    return ComponentStatus("ocr", "ok" if is_well else "degraded", status.reason, datetime.now(UTC))


def _readers_status(readers: ReaderPool) -> ComponentStatus:
    status = readers.status()
    return ComponentStatus(
        "readers", "ok" if status.state == "ready" else "degraded", status.reason or None, datetime.now(UTC)
    )
