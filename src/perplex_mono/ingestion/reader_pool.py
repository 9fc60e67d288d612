"""Lends reader children to whoever has a document to read or a page to draw, and replaces those that failed."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Literal

import msgspec
from loguru import logger

from perplex_mono.errors import DocumentFailure, Unavailable
from perplex_mono.ingestion.reader_process import ReaderDied, ReaderProcess
from perplex_mono.ingestion.reader_session import ReaderSession
from perplex_mono.ingestion.readers.contract import ReaderItem, ReaderLimits, ReadRequest
from perplex_mono.ingestion.readers.wire import Box, Done, ReadCommand, RenderCommand
from perplex_mono.telemetry.waiting import in_turn

START_DELAYS_SECONDS = (0.5, 1.0, 2.0, 4.0, 8.0)  # before a child that could not be started is tried again
READ_NICENESS = 19
RENDER_NICENESS = 0
# Borrowers of killed children notice at once, unless their consumer has gone to sleep between two items.
CLOSE_TIMEOUT_SECONDS = 5.0


class ReaderPoolStatus(msgspec.Struct, frozen=True):
    """The pool for readiness. `state` is `degraded`, with the reason, since a child could not be started."""

    state: Literal["closed", "ready", "degraded"]
    reason: str
    children: int
    busy: int
    documents: int
    replaced: int


class ReaderPool:
    """Up to `processes` children that read, one more that reads what is urgent, and one that draws pages.

    Children start when first needed, serve up to `max_documents_per_child` documents, and are replaced sooner when they
    hold more than `max_idle_rss_bytes` or after a failure. `page_timeout_seconds` is how long a child may work
    without an item; the time in which the caller is busy with the last one does not count. A child that cannot be
    started is tried again for a while before a document, of which nothing is lost, has to wait for its next attempt;
    whoever wants to see a page is told at once.
    """

    def __init__(
        self,
        processes: int,
        page_timeout_seconds: float,
        limits: ReaderLimits,
        *,
        max_documents_per_child: int = 200,
        max_idle_rss_bytes: int = 300_000_000,
        start_delays_seconds: Sequence[float] = START_DELAYS_SECONDS,
    ) -> None:
        self._page_timeout_seconds = page_timeout_seconds
        self._limits = limits
        reading = READ_NICENESS, max_documents_per_child, max_idle_rss_bytes, start_delays_seconds
        self._readers, self._urgent_readers = _Lane(processes, *reading), _Lane(1, *reading)
        self._renderers = _Lane(1, RENDER_NICENESS, max_documents_per_child, max_idle_rss_bytes)

    async def open(self) -> None:
        """Allow work. Starts nothing: the first document does."""
        for lane in self._lanes:
            lane.is_open = True

    async def close(self) -> None:
        """Kill every child and wait until all are reaped; a document being read ends with `Unavailable`."""
        await asyncio.gather(*(lane.close() for lane in self._lanes))

    async def read(self, request: ReadRequest, *, is_urgent: bool = False) -> AsyncGenerator[ReaderItem, None]:
        """The items of a document, as its child finds them; an urgent one does not wait for long documents to end.

        Closing the iterator or cancelling its consumer kills the child. Raises `DocumentFailure` when the document
        cannot be read, `Unavailable` when no child can be started or the pool is closed.
        """
        lane = self._urgent_readers if is_urgent and self._readers.is_full else self._readers
        async with lane.borrow() as process:
            session = self._session(process, ReadCommand(request), request.limits)
            await session.begin()
            while not isinstance(item := await session.receive(), Done | bytes):
                yield item
            lane.settle(process, item)

    async def render_page(
        self, path: str, media_type: str, page: int, max_side: int, highlights: Sequence[Box] = ()
    ) -> bytes:
        """A page of a PDF or image as PNG, `max_side` pixels on its longer side, the highlights marked translucently.

        Highlights are `(x0, y0, x1, y1)` in fractions of the upright page. Raises `DocumentFailure`: "unsupported" for
        other types, "corrupt" also for a page that the file does not have; `Unavailable` as `read` does.
        """
        command = RenderCommand(path, media_type, page, max_side, list(highlights), self._limits)
        async with self._renderers.borrow() as process:
            session = self._session(process, command, self._limits)
            await session.begin()
            png = await session.receive()
            self._renderers.settle(process, await session.receive())
        assert isinstance(png, bytes)
        return png

    def status(self) -> ReaderPoolStatus:
        """Counts over all lanes, and the reason of the last start that failed."""
        lanes = self._lanes
        reason = next((lane.start_failure for lane in lanes if lane.start_failure), "")
        return ReaderPoolStatus(
            state="closed" if not self._readers.is_open else "degraded" if reason else "ready",
            reason=reason,
            children=sum(len(lane.idle) + len(lane.busy) for lane in lanes),
            busy=sum(len(lane.busy) for lane in lanes),
            documents=sum(lane.documents for lane in lanes),
            replaced=sum(lane.replaced for lane in lanes),
        )

    @property
    def _lanes(self) -> tuple["_Lane", ...]:
        return self._readers, self._urgent_readers, self._renderers

    def _session(
        self, process: ReaderProcess, command: ReadCommand | RenderCommand, limits: ReaderLimits
    ) -> ReaderSession:
        return ReaderSession(process, command, limits, page_timeout_seconds=self._page_timeout_seconds)


class _Lane:
    """Children of one kind: at most `processes` at a time, lent to one borrower each."""

    def __init__(
        self,
        processes: int,
        niceness: int,
        max_documents: int,
        max_idle_rss_bytes: int,
        start_delays_seconds: Sequence[float] = (),
    ) -> None:
        self.is_open = False
        self.idle: list[ReaderProcess] = []
        self.busy: set[ReaderProcess] = set()
        self.start_failure = ""
        self.documents = 0
        self.replaced = 0
        self._niceness = niceness
        self._max_documents = max_documents
        self._max_idle_rss_bytes = max_idle_rss_bytes
        self._start_delays_seconds = start_delays_seconds
        self._slots = asyncio.Semaphore(processes)
        self._starting = 0
        self._disposals: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()

    @property
    def is_full(self) -> bool:
        """Whether a borrower would have to wait."""
        return self._slots.locked()

    @asynccontextmanager
    async def borrow(self) -> AsyncIterator[ReaderProcess]:
        """A child for one command. It is kept for the next one unless spoiled, or the borrower left by an exception."""
        async with in_turn(self._slots):
            process = await self._take()
            self.busy.add(process)
            try:
                yield process
            except BaseException as error:
                if not isinstance(error, DocumentFailure):
                    process.kill()
                if not self.is_open and isinstance(error, Exception):
                    raise Unavailable("document reader", "it is shutting down") from error
                raise
            finally:
                self.busy.discard(process)
                self._give_back(process)
                self._changed.set()

    def settle(self, process: ReaderProcess, last: object) -> None:
        """Note a command that succeeded; retire the child when it has served or grown enough."""
        if not isinstance(last, Done):
            raise ReaderDied("it sent a message out of place")
        process.documents += 1
        self.documents += 1
        if process.documents >= self._max_documents or last.rss_bytes > self._max_idle_rss_bytes:
            process.kill()

    async def close(self) -> None:
        """Kill all children and wait until they are gone, and their borrowers too if those do not sleep."""
        self.is_open = False
        for process in self.busy:
            process.kill()
        while self.idle:
            self._dispose(self.idle.pop())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_TIMEOUT_SECONDS):
                while self.busy or self._disposals or self._starting:
                    self._changed.clear()
                    await self._changed.wait()

    async def _take(self) -> ReaderProcess:
        self._require_open()
        while self.idle:
            process = self.idle.pop()
            if process.alive:
                return process
            self._dispose(process)
        process = await self._start_patiently()
        if not self.is_open:
            self._dispose(process)
        self._require_open()
        return process

    async def _start_patiently(self) -> ReaderProcess:
        for delay_seconds in self._start_delays_seconds:
            with contextlib.suppress(Unavailable):
                return await self._start()
            logger.warning("reader.start_failed", reason=self.start_failure, again_in_seconds=delay_seconds)
            await asyncio.sleep(delay_seconds)
            self._require_open()
        return await self._start()

    async def _start(self) -> ReaderProcess:
        self._starting += 1
        try:
            process = await ReaderProcess.start(niceness=self._niceness)
        except Unavailable as error:
            self.start_failure = str(error)
            raise
        finally:
            self._starting -= 1
            self._changed.set()
        self.start_failure = ""
        return process

    def _require_open(self) -> None:
        if not self.is_open:
            raise Unavailable("document reader", "it is not running")

    def _give_back(self, process: ReaderProcess) -> None:
        if self.is_open and process.alive and not process.spoiled:
            self.idle.append(process)
            return
        self.replaced += 1
        logger.debug("reader.retired", pid=process.pid, documents=process.documents)
        self._dispose(process)

    def _dispose(self, process: ReaderProcess) -> None:
        process.kill()
        task = asyncio.create_task(process.dispose(), name=f"reader-dispose-{process.pid}")
        self._disposals.add(task)
        task.add_done_callback(self._disposed)

    def _disposed(self, task: asyncio.Task[None]) -> None:
        self._disposals.discard(task)
        self._changed.set()
