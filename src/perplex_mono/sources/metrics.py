"""Scans of folders in figures."""

from prometheus_client import CollectorRegistry, Counter


class SourceMetrics:
    """What scans come by."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.scanned_files = Counter(
            "scanned_files", "Files that scans of folders came by, by what they found", ["finding"], registry=registry
        )
