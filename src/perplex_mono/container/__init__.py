"""The one place where things are built: every service once, opened in this order and closed in reverse."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial

from perplex_mono.accounts.audit import AuditLog
from perplex_mono.accounts.authentication import Authenticator
from perplex_mono.accounts.keys import ApiKeyService
from perplex_mono.accounts.logins import LoginService
from perplex_mono.accounts.service import AccountService
from perplex_mono.answers.extractive import ExtractiveWriter
from perplex_mono.answers.service import AnswerService
from perplex_mono.answers.summaries import SummaryService
from perplex_mono.backups.service import BackupService
from perplex_mono.container.accounts import Accounts, open_accounts
from perplex_mono.container.background import Background
from perplex_mono.container.backups import open_backups
from perplex_mono.container.inference import Inference, open_inference
from perplex_mono.container.ingestion import Ingestion, open_ingestion
from perplex_mono.container.library import Library, open_library
from perplex_mono.container.metrics import Instruments
from perplex_mono.container.sources import folder_watcher, scan_handler
from perplex_mono.container.storage import Storage, open_storage
from perplex_mono.inference.embedder import Embedder
from perplex_mono.inference.models import OpenModel
from perplex_mono.inference.ocr import OcrEngine
from perplex_mono.inference.readiness import embedding_status, ocr_status
from perplex_mono.ingestion.passages import StoredPassages
from perplex_mono.ingestion.previews import ChunkPreviewer
from perplex_mono.ingestion.readiness import readers_status
from perplex_mono.ingestion.service import ReadingService
from perplex_mono.library.collections import CollectionService
from perplex_mono.library.housekeeping import Housekeeper
from perplex_mono.library.indexes import IndexService
from perplex_mono.library.jobs import DeleteHandler
from perplex_mono.library.service import DocumentService
from perplex_mono.library.shares import ShareService
from perplex_mono.library.uploads import UploadReceiver
from perplex_mono.operations.dispatcher import Dispatcher, OperationHandler
from perplex_mono.operations.feeds import FeedService
from perplex_mono.operations.service import OperationService
from perplex_mono.search.metrics import SearchMetrics
from perplex_mono.search.service import SearchOptions, SearchService
from perplex_mono.settings import Settings
from perplex_mono.sources.folders import AllowedFolders
from perplex_mono.sources.service import SourceService
from perplex_mono.sources.watching import FolderWatcher
from perplex_mono.storage.blobs import BlobStore
from perplex_mono.storage.readiness import database_status, vectors_status
from perplex_mono.storage.starting import Starting
from perplex_mono.storage.vectors import VectorStore
from perplex_mono.telemetry.logs import count_records
from perplex_mono.telemetry.metrics import Metrics
from perplex_mono.telemetry.resources import ResourceProbes
from perplex_mono.web.health import PROBE_TIMEOUT_SECONDS, HealthService, Probe
from perplex_mono.web.metrics import ComponentMetrics, HttpMetrics
from perplex_mono.web.sockets import SocketHub

# Asking the components writes a row, so those who look often are told the same for a while.
COMPONENTS_KEEP_SECONDS = 5.0


@dataclass(frozen=True)
class Container:
    """What the application is made of; each name is what routes and commands ask for."""

    settings: Settings
    authenticator: Authenticator
    accounts: AccountService
    logins: LoginService
    keys: ApiKeyService
    audit: AuditLog
    collections: CollectionService
    shares: ShareService
    indexes: IndexService
    documents: DocumentService
    uploads: UploadReceiver
    reading: ReadingService
    previewer: ChunkPreviewer
    searcher: SearchService
    answers: AnswerService
    summaries: SummaryService
    sources: SourceService
    watcher: FolderWatcher
    operations: OperationService
    backups: BackupService
    housekeeper: Housekeeper
    feeds: FeedService
    hub: SocketHub
    health_service: HealthService
    metrics: Metrics
    http_metrics: HttpMetrics
    blobs: BlobStore
    embedder: Embedder
    vectors: Starting[VectorStore]

    async def warm_up(self) -> None:
        """Begin what takes seconds: opening the index and loading the model. Returns at once."""
        self.vectors.start()
        await self.embedder.start()

    def watch(self) -> None:
        """Begin to follow the folders that are to be watched: for servers, which stay. Returns at once."""
        if self.settings.sources.watch:
            self.watcher.supervisor.start()


@asynccontextmanager
async def open_container(
    settings: Settings,
    *,
    embedder: Embedder | None = None,
    ocr: OcrEngine | None = None,
    open_model: OpenModel | None = None,
    is_warm: bool = True,
) -> AsyncIterator[Container]:
    """Open everything for one process; what is slow to open goes on behind, and `/ready` says so.

    Without `is_warm` that begins when the caller calls `warm_up`, for example once it answers requests.
    `embedder` and `ocr` take the place of the engines that the settings name, `open_model` of the way to other models;
    they are closed with the rest.
    """
    instruments = Instruments()
    async with AsyncExitStack() as stack:
        stack.callback(count_records(instruments.exposition.count_record))
        storage = await open_storage(settings, stack, instruments)
        inference = await open_inference(
            settings, stack, instruments, embedder=embedder, ocr=ocr, open_model=open_model
        )
        container = await _build(settings, stack, instruments, storage, inference)
        if is_warm:
            await container.warm_up()
        yield container


async def _build(
    settings: Settings, stack: AsyncExitStack, instruments: Instruments, storage: Storage, inference: Inference
) -> Container:
    limits, database = settings.limits, storage.database
    library = await open_library(settings, storage, inference, instruments)
    ledger, documents = library.ledger, library.documents
    accounts = await open_accounts(settings, stack, storage, library.collections)
    ingestion = await open_ingestion(settings, stack, storage, inference, library, instruments.ingestion)
    searcher = _searcher(settings, storage, inference, ingestion, instruments.search)
    background = Background(settings, stack)
    backups = await open_backups(settings, storage, ledger, background)
    folders = AllowedFolders(settings.sources.roots, settings.data_directory)
    handlers: dict[str, OperationHandler] = {
        "ingest": ingestion.handler,
        "reindex": ingestion.reindexer,
        "scan": scan_handler(settings, storage, ledger, folders, instruments.sources),
        "delete": DeleteHandler(database, ledger, storage.blobs, storage.vectors),
        "backup": backups.handler,
    }
    dispatcher = background.dispatcher(ledger, handlers, instruments.operations)
    operations = OperationService(database, ledger, dispatcher.interrupt)
    sources = SourceService(database, ledger, operations, folders)
    ledger.on_stopped(sources.warn_of_failure)
    housekeeper = _housekeeper(settings, storage, accounts, library, dispatcher)
    background.supervise("index", ingestion.committer.run)
    background.supervise("event_loop", instruments.exposition.watch_loop)
    background.supervise("housekeeping", housekeeper.run)
    await background.run_operations(dispatcher, ledger, storage.directory)
    default_model = inference.models.default
    return Container(
        settings=settings,
        authenticator=accounts.authenticator,
        accounts=accounts.service,
        logins=accounts.logins,
        keys=accounts.keys,
        audit=accounts.audit,
        collections=library.collections,
        shares=library.shares,
        indexes=library.indexes,
        documents=documents,
        uploads=UploadReceiver(
            storage.blobs, max_upload_bytes=limits.max_upload_bytes, max_files=limits.max_files_per_request
        ),
        reading=ReadingService(database, documents, storage.blobs, ingestion.pages, ingestion.readers),
        previewer=ChunkPreviewer(documents, ingestion.pages, ingestion.cutter, library.recipes, default_model),
        searcher=searcher,
        answers=AnswerService(
            database, searcher, ingestion.pages, ExtractiveWriter(inference.embedder), instruments.answers
        ),
        summaries=SummaryService(database, documents, ingestion.pages),
        sources=sources,
        watcher=folder_watcher(settings, sources, background),
        operations=operations,
        backups=backups.service,
        housekeeper=housekeeper,
        feeds=FeedService(database, library.bus),
        hub=_hub(settings, instruments, accounts.authenticator),
        health_service=_health(settings, instruments, storage, inference, ingestion, background),
        metrics=instruments.exposition,
        http_metrics=instruments.http,
        blobs=storage.blobs,
        embedder=inference.embedder,
        vectors=storage.vectors,
    )


def _hub(settings: Settings, instruments: Instruments, authenticator: Authenticator) -> SocketHub:
    return SocketHub(
        per_user=settings.limits.sockets_per_user,
        total=settings.limits.sockets_total,
        is_valid=authenticator.is_valid,
        metrics=instruments.sockets,
    )


def _housekeeper(
    settings: Settings, storage: Storage, accounts: Accounts, library: Library, dispatcher: Dispatcher
) -> Housekeeper:
    return Housekeeper(
        storage.database,
        library.ledger,
        library.indexes,
        storage.vectors,
        is_idle=lambda: dispatcher.running_count == 0,
        tidy_accounts=accounts.tidy,
        event_days=settings.limits.event_retention_days,
        retired_days=settings.indexes.keep_retired_days,
    )


def _searcher(
    settings: Settings, storage: Storage, inference: Inference, ingestion: Ingestion, metrics: SearchMetrics
) -> SearchService:
    search, limits = settings.search, settings.limits
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
    passages = StoredPassages(ingestion.pages)
    return SearchService(
        storage.database, storage.vectors, inference.models, passages, options, inference.priority, metrics
    )


def _health(
    settings: Settings,
    instruments: Instruments,
    storage: Storage,
    inference: Inference,
    ingestion: Ingestion,
    background: Background,
) -> HealthService:
    resources = ResourceProbes(
        storage.directory.path,
        memory_fraction=settings.limits.memory_warning_fraction,
        processor_fraction=settings.limits.processor_warning_fraction,
    )
    vital: dict[str, Probe] = {
        "database": partial(database_status, storage.database),
        "vectors": partial(vectors_status, storage.vectors),
    }
    others: dict[str, Probe] = {
        "embedding": partial(embedding_status, inference.embedder),
        "ocr": partial(ocr_status, inference.ocr),
        "readers": partial(readers_status, ingestion.readers),
        **background.probes,
        "memory": resources.memory,
        "processor": resources.processor,
        "disk": resources.disk,
    }
    service = HealthService(instruments.process, vital=vital, others=others)
    exposition = instruments.exposition
    components = ComponentMetrics(service, exposition.registry)
    exposition.count_with(
        "components", components, timeout_seconds=PROBE_TIMEOUT_SECONDS + 1, keep_seconds=COMPONENTS_KEEP_SECONDS
    )
    return service
