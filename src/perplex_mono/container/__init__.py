"""The one place where things are built: every service once, opened in this order and closed in reverse."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from perplex_mono.accounts.audit import AuditLog
from perplex_mono.accounts.authentication import Authenticator
from perplex_mono.accounts.keys import ApiKeyService
from perplex_mono.accounts.logins import LoginService
from perplex_mono.accounts.service import AccountService
from perplex_mono.answers.extractive import ExtractiveWriter
from perplex_mono.answers.service import AnswerService
from perplex_mono.answers.summaries import SummaryService
from perplex_mono.backups.service import BackupService
from perplex_mono.configuration.service import SettingsService
from perplex_mono.container.accounts import open_accounts
from perplex_mono.container.background import Background
from perplex_mono.container.backups import open_backups
from perplex_mono.container.following import follow_settings
from perplex_mono.container.inference import Inference, open_inference, require_workable
from perplex_mono.container.ingestion import open_ingestion
from perplex_mono.container.library import open_housekeeper, open_library
from perplex_mono.container.metrics import Instruments
from perplex_mono.container.operations import open_operations
from perplex_mono.container.search import search_service
from perplex_mono.container.sources import folder_watcher
from perplex_mono.container.storage import Storage, open_database, open_storage
from perplex_mono.container.web import health_service, resource_probes, socket_hub
from perplex_mono.errors import ConfigurationError
from perplex_mono.inference.embedder import Embedder
from perplex_mono.inference.models import OpenModel
from perplex_mono.inference.ocr import OcrEngine
from perplex_mono.ingestion.previews import ChunkPreviewer
from perplex_mono.ingestion.service import ReadingService
from perplex_mono.library.collections import CollectionService
from perplex_mono.library.housekeeping import Housekeeper
from perplex_mono.library.indexes import IndexService
from perplex_mono.library.service import DocumentService
from perplex_mono.library.shares import ShareService
from perplex_mono.library.uploads import UploadReceiver
from perplex_mono.operations.feeds import FeedService
from perplex_mono.operations.oversight import OversightService
from perplex_mono.operations.service import OperationService
from perplex_mono.search.service import SearchService
from perplex_mono.settings import LiveSettings, Settings
from perplex_mono.settings.loading import Source
from perplex_mono.sources.service import SourceService
from perplex_mono.sources.watching import FolderWatcher
from perplex_mono.storage.blobs import BlobStore
from perplex_mono.storage.starting import Starting
from perplex_mono.storage.vectors import VectorStore
from perplex_mono.telemetry.logs import count_records
from perplex_mono.telemetry.metrics import Metrics
from perplex_mono.web.health import HealthService
from perplex_mono.web.metrics import HttpMetrics
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
    oversight: OversightService
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
    sources: Mapping[str, Source] | None = None,
) -> AsyncIterator[Container]:
    """Open everything for one process; what is slow to open goes on behind, and `/ready` says so.

    Without `is_warm` that begins when the caller calls `warm_up`, for example once it answers requests.
    `embedder` and `ocr` take the place of the engines that the settings name, `open_model` of the way to other models;
    they are closed with the rest. `sources` says who set what. Settings that were changed at run time are above
    `settings`; the container's own `settings` have them.
    """
    instruments = Instruments()
    async with AsyncExitStack() as stack:
        stack.callback(count_records(instruments.exposition.count_record))
        directory, database = await open_database(settings, stack, instruments)
        changed = await SettingsService.open(database, settings, sources, require_workable)
        settings = changed.live.current
        try:
            storage = await open_storage(settings, stack, instruments, directory, database)
            inference = await open_inference(
                settings, stack, instruments, embedder=embedder, ocr=ocr, open_model=open_model
            )
            container = await _build(changed, stack, instruments, storage, inference)
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


async def _build(
    changed: SettingsService, stack: AsyncExitStack, instruments: Instruments, storage: Storage, inference: Inference
) -> Container:
    settings, database = changed.live.current, storage.database
    limits = settings.limits
    library = await open_library(settings, storage, inference, instruments)
    ledger, documents = library.ledger, library.documents
    accounts = await open_accounts(settings, stack, storage, library.collections)
    ingestion = await open_ingestion(settings, stack, storage, inference, library, instruments.ingestion)
    searcher = search_service(settings, storage, inference, ingestion, instruments.search)
    background = Background(settings, stack)
    backups = await open_backups(settings, storage, ledger, background)
    operations = open_operations(settings, storage, library, ingestion, backups, background, instruments)
    dispatcher = operations.dispatcher
    housekeeper = open_housekeeper(
        settings, storage, library, is_idle=lambda: dispatcher.running_count == 0, tidy_accounts=accounts.tidy
    )
    background.supervise("index", ingestion.committer.run)
    background.supervise("event_loop", instruments.exposition.watch_loop)
    background.supervise("housekeeping", housekeeper.run)
    await background.run_operations(dispatcher, ledger, storage.directory)
    default_model = inference.models.default
    hub = socket_hub(settings, instruments, accounts.authenticator)
    resources = resource_probes(settings, storage)
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
        answers=AnswerService(
            database, searcher, ingestion.pages, ExtractiveWriter(inference.embedder), instruments.answers
        ),
        summaries=SummaryService(database, documents, ingestion.pages),
        sources=operations.sources,
        watcher=folder_watcher(settings, operations.sources, background),
        operations=operations.service,
        oversight=operations.oversight,
        backups=backups.service,
        housekeeper=housekeeper,
        feeds=FeedService(database, library.bus),
        hub=hub,
        health_service=health_service(instruments, storage, inference, ingestion, background, resources),
        metrics=instruments.exposition,
        http_metrics=instruments.http,
        blobs=storage.blobs,
        embedder=inference.embedder,
        vectors=storage.vectors,
    )
