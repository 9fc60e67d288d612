"""Builds what long work runs through: a handler for each kind, who starts them, who steers them, who asks for scans."""

from dataclasses import dataclass

from perplex_mono.container.background import Background
from perplex_mono.container.backups import Backups
from perplex_mono.container.ingestion import Ingestion
from perplex_mono.container.library import Library
from perplex_mono.container.metrics import Instruments
from perplex_mono.container.sources import scan_handler
from perplex_mono.container.storage import Storage
from perplex_mono.library.jobs import DeleteHandler
from perplex_mono.operations.dispatcher import Dispatcher, OperationHandler
from perplex_mono.operations.oversight import OversightService
from perplex_mono.operations.service import OperationService
from perplex_mono.settings import Settings
from perplex_mono.sources.folders import AllowedFolders
from perplex_mono.sources.service import SourceService


@dataclass(frozen=True)
class Operations:
    """Long work."""

    dispatcher: Dispatcher
    service: OperationService
    oversight: OversightService
    sources: SourceService


def open_operations(
    settings: Settings,
    storage: Storage,
    library: Library,
    ingestion: Ingestion,
    backups: Backups,
    background: Background,
    instruments: Instruments,
) -> Operations:
    """Build it; nothing runs before `Background.run_operations`."""
    ledger = library.ledger
    folders = AllowedFolders(settings.sources.roots, settings.data_directory)
    handlers: dict[str, OperationHandler] = {
        "ingest": ingestion.handler,
        "reindex": ingestion.reindexer,
        "scan": scan_handler(settings, storage, ledger, folders, instruments.sources),
        "delete": DeleteHandler(storage.database, ledger, storage.blobs, storage.vectors),
        "backup": backups.handler,
    }
    dispatcher = background.dispatcher(ledger, handlers, instruments.operations)
    service = OperationService(storage.database, ledger, dispatcher.interrupt)
    sources = SourceService(storage.database, ledger, service, folders)
    ledger.on_stopped(sources.warn_of_failure)
    return Operations(dispatcher, service, OversightService(storage.database, service), sources)
