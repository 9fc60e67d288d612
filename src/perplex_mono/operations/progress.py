"""Progress that tells the truth: counted work, a rate over the last half minute, a few events a second."""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from perplex_mono.operations.ledger import Progress

FLUSH_SECONDS = 0.25
RATE_WINDOW_SECONDS = 30.0


class ProgressMeter:
    """Counts the work of one attempt and hands a coalesced `Progress` to `record`, at most four times a second."""

    def __init__(
        self,
        record: Callable[[Progress], Awaitable[None]],
        *,
        unit: str,
        done: int = 0,
        total: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._record = record
        self._unit = unit
        self._clock = clock
        self._current: Mapping[str, Any] = {}
        self._samples: deque[tuple[float, int]] = deque([(clock(), done)])
        self._dirty = False
        self.done = done
        self.total = total

    def expect(self, more: int) -> None:
        """The total turned out larger (or smaller) by `more`."""
        self.total += more
        self._dirty = True

    def advance(self, count: int, current: Mapping[str, Any]) -> None:
        """`count` more units are done; `current` is what is being worked at."""
        self.done += count
        self._current = current
        self._dirty = True
        now = self._clock()
        self._samples.append((now, self.done))
        while len(self._samples) > 2 and self._samples[1][0] < now - RATE_WINDOW_SECONDS:
            self._samples.popleft()

    def snapshot(self) -> Progress:
        """The figures as they are now. Rate and ETA are None until something moved."""
        first_time, first_done = self._samples[0]
        elapsed = self._clock() - first_time
        moved = self.done - first_done
        rate = moved / elapsed if moved > 0 and elapsed > 0 else None
        remaining = max(0, self.total - self.done)
        return Progress(
            done=self.done,
            total=self.total,
            unit=self._unit,
            rate_per_second=round(rate, 3) if rate else None,
            eta_seconds=round(remaining / rate, 1) if rate else None,
            current=self._current,
        )

    async def run(self) -> None:
        """Record whenever something changed, until cancelled."""
        while True:
            await asyncio.sleep(FLUSH_SECONDS)
            await self.flush()

    async def flush(self) -> None:
        """Record now if something changed since the last time."""
        if self._dirty:
            self._dirty = False
            await self._record(self.snapshot())


class DocumentProgress:
    """One document's share of an operation's progress: it counts as one page until its number is known."""

    def __init__(self, meter: ProgressMeter, document_id: str, name: str) -> None:
        self._meter = meter
        self._document_id = document_id
        self._name = name
        self._expected = 1
        self._done = 0

    def expect_pages(self, count: int) -> None:
        """The document has `count` pages."""
        self._meter.expect(max(count, self._done, 1) - self._expected)
        self._expected = max(count, self._done, 1)

    def expect_attachment(self) -> None:
        """Another document was found inside this one; it counts as one page until it is opened itself."""
        self._meter.expect(1)

    def advance(self, pages: int, last_page: int) -> None:
        """`pages` more are searchable-to-be; `last_page` is the newest."""
        if self._done + pages > self._expected:
            self.expect_pages(self._done + pages)
        self._done += pages
        self._meter.advance(pages, {"document_id": self._document_id, "document": self._name, "page": last_page})

    def finish(self) -> None:
        """Nothing more will come of this document, well or not."""
        remaining, self._done = self._expected - self._done, self._expected
        self._meter.advance(remaining, {"document_id": self._document_id, "document": self._name, "page": None})
