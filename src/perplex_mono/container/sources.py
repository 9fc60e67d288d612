"""Builds what follows folders: the handler of scans, and the watcher that asks for them."""

from perplex_mono.container.background import Background
from perplex_mono.container.storage import Storage
from perplex_mono.operations.ledger import Ledger
from perplex_mono.settings import Settings
from perplex_mono.sources.folders import AllowedFolders
from perplex_mono.sources.jobs import ScanHandler
from perplex_mono.sources.metrics import SourceMetrics
from perplex_mono.sources.service import SourceService
from perplex_mono.sources.watching import FolderWatcher, WatchRules


def scan_handler(
    settings: Settings, storage: Storage, ledger: Ledger, folders: AllowedFolders, metrics: SourceMetrics
) -> ScanHandler:
    """What runs scans."""
    limits = settings.limits
    return ScanHandler(
        storage.database,
        ledger,
        storage.blobs,
        folders,
        metrics,
        max_file_bytes=limits.max_upload_bytes,
        max_name_chars=limits.max_name_chars,
        queue_documents=limits.queue_documents,
    )


def folder_watcher(settings: Settings, sources: SourceService, background: Background) -> FolderWatcher:
    """What watches folders once its supervisor is started; it is a component where there can be any."""
    rules = WatchRules(
        debounce_seconds=settings.sources.debounce_seconds,
        rescan_seconds=settings.sources.rescan_seconds,
        polling=settings.sources.polling,
        poll_seconds=settings.sources.poll_seconds,
    )
    watcher = FolderWatcher(sources, rules)
    background.close_with(watcher.supervisor, is_shown=settings.sources.watch and bool(settings.sources.roots))
    return watcher
