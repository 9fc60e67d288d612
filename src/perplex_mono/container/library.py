"""Builds what is stored and what is done to it: collections, documents, indexes, and the ledger of long work."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from perplex_mono.container.inference import Inference
from perplex_mono.container.metrics import Instruments
from perplex_mono.container.storage import Storage
from perplex_mono.ingestion.chunking import find_fault
from perplex_mono.library.backlog import Backlog
from perplex_mono.library.collections import CollectionService
from perplex_mono.library.housekeeping import Housekeeper
from perplex_mono.library.indexes import IndexService
from perplex_mono.library.metrics import LibraryMetrics, QueueMetrics
from perplex_mono.library.recipes import IndexRecipes
from perplex_mono.library.requeueing import requeue_unready, settle_unfinished
from perplex_mono.library.service import DocumentService
from perplex_mono.library.shares import ShareService
from perplex_mono.library.throughput import Throughput
from perplex_mono.operations.events import EventBus
from perplex_mono.operations.ledger import Ledger
from perplex_mono.operations.metrics import ActiveOperations
from perplex_mono.settings import Settings
from perplex_mono.storage.database import Database
from perplex_mono.web.callers import LOCAL_USER

# Counting reads a row of every document, so once a minute must do.
LIBRARY_KEEP_SECONDS = 60.0


@dataclass(frozen=True)
class Library:
    """What is stored, and the ledger of what is done to it."""

    bus: EventBus
    ledger: Ledger
    throughput: Throughput
    recipes: IndexRecipes
    documents: DocumentService
    collections: CollectionService
    indexes: IndexService
    shares: ShareService


async def open_library(settings: Settings, storage: Storage, inference: Inference, instruments: Instruments) -> Library:
    """Build the services and tell the ledger who settles what an operation leaves; make the default collection."""
    database, limits, bus = storage.database, settings.limits, EventBus()
    ledger = Ledger(
        database,
        bus,
        lease_seconds=settings.ingestion.lease_seconds,
        max_attempts=settings.ingestion.max_attempts,
    )
    ledger.on_event(instruments.operations.record)
    ledger.on_event(instruments.ingestion.record)
    throughput = Throughput()
    backlog = Backlog(database, throughput, max_documents=limits.queue_documents, max_hours=limits.queue_hours)
    _count_when_asked(database, backlog, instruments)
    documents = DocumentService(database, storage.blobs, ledger, backlog, max_name_chars=limits.max_name_chars)
    recipes = IndexRecipes(
        inference.models,
        find_fault,
        strategy=settings.chunking.strategy,
        max_tokens=settings.chunking.max_tokens,
        overlap_tokens=settings.chunking.overlap_tokens,
    )
    indexes = IndexService(database, ledger, recipes, storage.blobs.require_space)
    ledger.on_stopped(settle_unfinished)
    ledger.on_stopped(indexes.settle_unfinished)
    ledger.on_retried(requeue_unready)
    collections = CollectionService(database, ledger, recipes)
    await collections.ensure_default(LOCAL_USER)
    return Library(bus, ledger, throughput, recipes, documents, collections, indexes, ShareService(database))


def open_housekeeper(
    settings: Settings,
    storage: Storage,
    library: Library,
    *,
    is_idle: Callable[[], bool],
    tidy_accounts: Callable[[], Awaitable[None]],
) -> Housekeeper:
    """Build who does now and then what nobody waits for."""
    return Housekeeper(
        storage.database,
        library.ledger,
        library.indexes,
        storage.vectors,
        is_idle=is_idle,
        tidy_accounts=tidy_accounts,
        event_days=settings.limits.event_retention_days,
        retired_days=settings.indexes.keep_retired_days,
    )


def _count_when_asked(database: Database, backlog: Backlog, instruments: Instruments) -> None:
    exposition = instruments.exposition
    exposition.count_with("queue", QueueMetrics(backlog.figures, exposition.registry))
    exposition.count_with("operations", ActiveOperations(database, exposition.registry))
    library = LibraryMetrics(database, exposition.registry)
    exposition.count_with("library", library, keep_seconds=LIBRARY_KEEP_SECONDS)
