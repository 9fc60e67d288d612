"""Scans of folders in figures."""

from typing import Final

from prometheus_client import CollectorRegistry, Counter

FINDINGS: Final = ("seen", "new", "changed", "renamed", "removed", "skipped")


class SourceMetrics:
    """What scans come by."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.scanned_files = Counter(
            "scanned_files", "Files that scans of folders came by, by what they found", ["finding"], registry=registry
        )
