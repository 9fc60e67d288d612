"""The one place where things are built: every service once, opened in this order and closed in reverse."""

from collections.abc import AsyncIterator, Mapping
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
from perplex_mono.configuration.service import SettingsService
from perplex_mono.container.accounts import Accounts, open_accounts
from perplex_mono.container.background import Background
from perplex_mono.container.following import follow_settings, search_options
from perplex_mono.container.inference import Inference, open_inference
from perplex_mono.container.ingestion import Ingestion, open_ingestion
from perplex_mono.container.library import Library, open_library
from perplex_mono.container.sources import folder_watcher, scan_handler
from perplex_mono.container.storage import Storage, open_database, open_storage
from perplex_mono.errors import ConfigurationError
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
from perplex_mono.search.service import SearchService
from perplex_mono.settings import LiveSettings, Settings
from perplex_mono.settings.loading import Source
from perplex_mono.sources.folders import AllowedFolders
from perplex_mono.sources.service import SourceService
from perplex_mono.sources.watching import FolderWatcher
from perplex_mono.storage.blobs import BlobStore
from perplex_mono.storage.readiness import database_status, vectors_status
from perplex_mono.storage.starting import Starting
from perplex_mono.storage.vectors import VectorStore
from perplex_mono.telemetry.metrics import Metrics
from perplex_mono.telemetry.resources import ResourceProbes
from perplex_mono.web.health import HealthService, Probe
from perplex_mono.web.sockets import SocketHub


@dataclass(frozen=True)
class Container:
    """What the application is made of; each name is what routes and commands ask for."""

    settings: Settings
    live: LiveSettings
    setting_service: SettingsService
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
    housekeeper: Housekeeper
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
    sources: Mapping[str, Source] | None = None,
) -> AsyncIterator[Container]:
    """Open everything for one process; what is slow to open goes on behind, and `/ready` says so.

    Without `is_warm` that begins when the caller calls `warm_up`, for example once it answers requests.
    `embedder` and `ocr` take the place of the engines that the settings name, `open_model` of the way to other models;
    they are closed with the rest. `sources` says who set what. Settings that were changed at run time are above
    `settings`; the container's own `settings` have them.
    """
    async with AsyncExitStack() as stack:
        directory, database = await open_database(settings, stack)
        changed = await SettingsService.open(database, settings, sources)
        settings = changed.live.current
        try:
            storage = await open_storage(settings, stack, directory, database)
            inference = await open_inference(settings, stack, embedder=embedder, ocr=ocr, open_model=open_model)
            container = await _build(changed, stack, storage, inference)
        except ConfigurationError as error:
            raise _with_changes_told(error, changed) from error
        if is_warm:
            await container.warm_up()
        yield container


def _with_changes_told(error: ConfigurationError, changed: SettingsService) -> ConfigurationError:
    """The error, with the settings that neither file nor environment show."""
    if not changed.overridden:
        return error
    names = ", ".join(changed.overridden)
    return ConfigurationError(
        f"{error} Changed at run time are {names}; `perplex-mono settings --unset NAME` takes a change back."
    )


async def _build(changed: SettingsService, stack: AsyncExitStack, storage: Storage, inference: Inference) -> Container:
    settings, database, metrics = changed.live.current, storage.database, Metrics()
    limits = settings.limits
    accounts = await open_accounts(settings, stack, storage)
    library = await open_library(settings, storage, inference, metrics)
    ledger, documents = library.ledger, library.documents
    accounts.service.on_created(library.collections.add_default)
    ingestion = await open_ingestion(settings, stack, storage, inference, library, metrics)
    searcher = _searcher(settings, storage, inference, ingestion)
    background = Background(settings, stack)
    folders = AllowedFolders(settings.sources.roots, settings.data_directory)
    handlers: dict[str, OperationHandler] = {
        "ingest": ingestion.handler,
        "reindex": ingestion.reindexer,
        "scan": scan_handler(settings, storage, ledger, folders, metrics),
        "delete": DeleteHandler(database, ledger, storage.blobs, storage.vectors),
    }
    dispatcher = background.dispatcher(ledger, handlers)
    operations = OperationService(database, ledger, dispatcher.interrupt)
    sources = SourceService(database, ledger, operations, folders)
    ledger.on_stopped(sources.warn_of_failure)
    housekeeper = _housekeeper(settings, storage, accounts, library, dispatcher)
    background.supervise("index", ingestion.committer.run)
    background.supervise("event_loop", metrics.watch_loop)
    background.supervise("housekeeping", housekeeper.run)
    await background.run_operations(dispatcher, ledger, storage.directory, metrics)
    default_model = inference.models.default
    hub = _hub(settings, metrics, accounts.authenticator)
    resources = _resources(settings, storage)
    follow_settings(changed.live, searcher, hub, accounts.attempts, resources, storage.blobs)
    return Container(
        settings=settings,
        live=changed.live,
        setting_service=changed,
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
        answers=AnswerService(database, searcher, ingestion.pages, ExtractiveWriter(inference.embedder)),
        summaries=SummaryService(database, documents, ingestion.pages),
        sources=sources,
        watcher=folder_watcher(settings, sources, background),
        operations=operations,
        housekeeper=housekeeper,
        feeds=FeedService(database, library.bus),
        hub=hub,
        health_service=_health(metrics, storage, inference, ingestion, background, resources),
        metrics=metrics,
        blobs=storage.blobs,
        embedder=inference.embedder,
        vectors=storage.vectors,
    )


def _hub(settings: Settings, metrics: Metrics, authenticator: Authenticator) -> SocketHub:
    limits = settings.limits
    hub = SocketHub(per_user=limits.sockets_per_user, total=limits.sockets_total, is_valid=authenticator.is_valid)
    metrics.sockets.set_function(lambda: hub.open_count)
    return hub


def _housekeeper(
    settings: Settings, storage: Storage, accounts: Accounts, library: Library, dispatcher: Dispatcher
) -> Housekeeper:
    return Housekeeper(
        storage.database,
        library.ledger,
        library.indexes,
        storage.vectors,
        is_idle=lambda: dispatcher.running_count == 0,
        forget_old=accounts.audit.forget_old,
        event_days=settings.limits.event_retention_days,
        retired_days=settings.indexes.keep_retired_days,
    )


def _searcher(settings: Settings, storage: Storage, inference: Inference, ingestion: Ingestion) -> SearchService:
    options = search_options(settings)
    passages = StoredPassages(ingestion.pages)
    return SearchService(storage.database, storage.vectors, inference.models, passages, options, inference.priority)


def _resources(settings: Settings, storage: Storage) -> ResourceProbes:
    return ResourceProbes(
        storage.directory.path,
        memory_fraction=settings.limits.memory_warning_fraction,
        processor_fraction=settings.limits.processor_warning_fraction,
    )


def _health(
    metrics: Metrics,
    storage: Storage,
    inference: Inference,
    ingestion: Ingestion,
    background: Background,
    resources: ResourceProbes,
) -> HealthService:
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
    return HealthService(metrics, vital=vital, others=others)
