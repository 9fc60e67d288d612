"""Progress that tells the truth: counted work, a rate over the last half minute, a few events a second."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from loguru import logger

from perplex_mono.errors import StaleLease
from perplex_mono.operations.ledger import Progress
from perplex_mono.operations.pace import Pace

FLUSH_SECONDS = 0.25


@asynccontextmanager
async def recording(flush: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
    """Call `flush` a few times a second while the block runs, and once more when it ended well.

    A record that cannot be written harms nothing: the next one says the same and more.
    """
    task = asyncio.create_task(_flush_for_ever(flush))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    await flush()


async def _flush_for_ever(flush: Callable[[], Awaitable[None]]) -> None:
    """Until cancelled, or until the work is no longer ours."""
    while True:
        await asyncio.sleep(FLUSH_SECONDS)
        try:
            await flush()
        except StaleLease:
            return
        except Exception as error:
            logger.warning("progress.not_recorded", reason=str(error))


class ProgressMeter:
    """Counts the work of one attempt and hands a coalesced `Progress` to `record`, at most four times a second.

    `unopened` of the `total` are documents that count as one unit until their size is known.
    """

    def __init__(
        self,
        record: Callable[[Progress], Awaitable[None]],
        *,
        unit: str,
        done: int = 0,
        total: int = 0,
        unopened: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._record = record
        self._unit = unit
        self._pace = Pace(done, clock)
        self._current: Mapping[str, Any] = {}
        self._dirty = False
        self._unopened = unopened
        self._opened = 0
        self._opened_units = 0
        self.done = done
        self.total = total

    def expect(self, more: int) -> None:
        """The total turned out larger (or smaller) by `more`."""
        self.total += more
        self._dirty = True

    def expect_document(self) -> None:
        """Another document was found; it counts as one until it is opened."""
        self._unopened += 1
        self.expect(1)

    def open_document(self, units: int) -> None:
        """A document that counted as one has `units`."""
        self._unopened = max(0, self._unopened - 1)
        self._opened += 1
        self._opened_units += units
        self.expect(units - 1)

    def advance(self, count: int, current: Mapping[str, Any]) -> None:
        """`count` more units are done; `current` is what is being worked at."""
        self.done += count
        self._current = current
        self._dirty = True
        self._pace.note(self.done)

    def snapshot(self) -> Progress:
        """The figures as they are now. Rate and ETA are None until something moved."""
        rate, eta = self._pace.measure(self._left())
        return Progress(
            done=self.done,
            total=self.total,
            unit=self._unit,
            rate_per_second=None if rate is None else round(rate, 3),
            eta_seconds=None if eta is None else round(eta, 1),
            current=self._current,
        )

    def _left(self) -> float:
        """Units still to do, documents that are not open yet taken to be like those that are."""
        usual = self._opened_units / self._opened if self._opened else 1.0
        return max(0.0, self.total - self.done + self._unopened * (usual - 1))

    def recording(self) -> AbstractAsyncContextManager[None]:
        """Record while the block runs, and once more when it ended well."""
        return recording(self.flush)

    async def flush(self) -> None:
        """Record now if something changed since the last time."""
        if not self._dirty:
            return
        self._dirty = False
        try:
            await self._record(self.snapshot())
        except BaseException:
            self._dirty = True
            raise


class DocumentProgress:
    """One document's share of an operation's progress: it counts as one page until its number is known."""

    def __init__(self, meter: ProgressMeter, document_id: str, name: str) -> None:
        self._meter = meter
        self._document_id = document_id
        self._name = name
        self._expected = 1
        self._is_open = False
        self._done = 0

    def expect_pages(self, count: int) -> None:
        """The document has `count` pages."""
        pages = max(count, self._done, 1)
        if self._is_open:
            self._meter.expect(pages - self._expected)
        else:
            self._meter.open_document(pages)
        self._expected, self._is_open = pages, True

    def expect_attachment(self) -> None:
        """Another document was found inside this one; it counts as one page until it is opened itself."""
        self._meter.expect_document()

    def advance(self, pages: int, last_page: int) -> None:
        """`pages` more are searchable-to-be; `last_page` is the newest."""
        if self._done + pages > self._expected:
            self.expect_pages(self._done + pages)
        self._done += pages
        self._meter.advance(pages, {"document_id": self._document_id, "document": self._name, "page": last_page})

    def finish(self) -> None:
        """Nothing more will come of this document, well or not."""
        if not self._is_open:
            self.expect_pages(self._expected)
        remaining, self._done = self._expected - self._done, self._expected
        self._meter.advance(remaining, {"document_id": self._document_id, "document": self._name, "page": None})
