"""What a scan says of itself while it runs: counts, a few times a second."""

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from perplex_mono.operations.ledger import Claim, Ledger
from perplex_mono.operations.progress import recording
from perplex_mono.sources.metrics import SourceMetrics

MAX_WARNINGS = 100


@dataclass
class ScanCounts:
    """Files by what was found about them; the rest of those seen is as it was."""

    seen: int = 0
    new: int = 0
    changed: int = 0
    renamed: int = 0
    removed: int = 0
    skipped: int = 0

    def as_data(self) -> dict[str, int]:
        """As events carry them."""
        return {f"files_{name}": count for name, count in vars(self).items()}


class ScanProgress:
    """Counts the findings of one attempt."""

    def __init__(self, ledger: Ledger, claim: Claim, metrics: SourceMetrics) -> None:
        self._ledger = ledger
        self._claim = claim
        self._metrics = metrics
        self._told: tuple[dict[str, int], str] | None = None
        self.counts = ScanCounts()
        self.current = ""
        self.warnings_left = MAX_WARNINGS

    def add(self, finding: str, count: int = 1) -> None:
        """`count` files more were `seen`, `new`, `changed`, `renamed`, `removed` or `skipped`."""
        setattr(self.counts, finding, getattr(self.counts, finding) + count)
        self._metrics.scanned_files.labels(finding).inc(count)

    def recording(self) -> AbstractAsyncContextManager[None]:
        """Record while the block runs, and once more when it ended well."""
        return recording(self._flush)

    async def _flush(self) -> None:
        now = (self.counts.as_data(), self.current)
        if now != self._told:
            data = {**self.counts.as_data(), "current": self.current}
            await self._ledger.record_scan(self._claim, seen=self.counts.seen, data=data)
            self._told = now
