"""Many callers, few threads: a bounded queue of pages in front of models that read one page a thread.

One page on one thread beats one page on all threads, because half of the work does not run in parallel. The threads
run at a lower priority than the rest of the process, so that a search does not wait for a scan.
"""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from loguru import logger

from perplex_mono.errors import DocumentFailure, InvalidInput, Unavailable
from perplex_mono.inference.metrics import InferenceMetrics
from perplex_mono.inference.ocr import EngineState, OcrPage, OcrStatus, PageRaster
from perplex_mono.inference.ocr_places import OcrPlaces
from perplex_mono.inference.priority import lower_thread_priority

_NICENESS = 10
_SHRINK_AFTER_SECONDS = 2.0
_FIRST_RETRY_SECONDS = 5.0
_LONGEST_RETRY_SECONDS = 300.0


class Reader(Protocol):
    """Loaded models that several threads may use at once."""

    def read(self, raster: PageRaster) -> OcrPage:
        """Read one page; CPU-bound."""
        ...

    def shrink(self) -> None:
        """Release working memory."""
        ...


@dataclass(frozen=True, slots=True)
class ReaderSource:
    """A way to get a reader. `load` may take seconds and raises anything when it cannot."""

    name: str
    version: str
    load: Callable[[], Reader]


class PooledOcrEngine:
    """An `OcrEngine` over the first of several sources that starts. Belongs to one event loop."""

    def __init__(
        self,
        sources: tuple[ReaderSource, ...],
        *,
        threads: int,
        max_queued_pages: int,
        lower_priority: bool = True,
        clock: Callable[[], float] = time.monotonic,
        metrics: InferenceMetrics | None = None,
    ) -> None:
        """`sources` come in order of preference; beyond `max_queued_pages` waiting pages, callers are refused.

        As many urgent pages may wait besides, and are read first; see `OcrPlaces`.

        `lower_priority` makes the threads yield to the rest of the process, where the system can (Linux).
        """
        self._sources = sources
        self._threads = threads
        self._clock = clock
        self._metrics = metrics or InferenceMetrics()
        niceness = _NICENESS if lower_priority else 0
        self._workers = ThreadPoolExecutor(threads, "ocr", initializer=partial(lower_thread_priority, niceness))
        self._places = OcrPlaces(threads, max_queued_pages)
        self._load: asyncio.Task[Reader] | None = None
        self._reader: Reader | None = None
        self._source = sources[0]
        self._state: EngineState = "idle"
        self._reason: str | None = None
        self._retry_at = 0.0
        self._retry_seconds = _FIRST_RETRY_SECONDS
        self._shrink_timer: asyncio.TimerHandle | None = None
        self._running = 0
        self._init_total = self._init_errors = self._requests = self._errors = 0
        self._seconds = 0.0

    @property
    def name(self) -> str:
        """The engine that answers, or the preferred one before the first page."""
        return self._source.name

    @property
    def version(self) -> str:
        """The hash of the answering engine's models and pipeline."""
        return self._source.version

    async def recognise(self, image: PageRaster, *, is_urgent: bool = False) -> OcrPage:
        """Read one page; see `OcrEngine`.

        Raises `Unavailable` while no source starts, `Overloaded` when the queue is full, `InvalidInput` when the bytes
        are not `width x height x 3`, `DocumentFailure` (memory, internal) when this page cannot be read.
        """
        if image.width < 1 or image.height < 1 or len(image.pixels) != image.width * image.height * 3:
            raise InvalidInput(f"A {image.width} x {image.height} RGB image cannot have {len(image.pixels)} bytes.")
        await self._places.take(is_urgent=is_urgent)
        return await self._recognise_in_place(image)

    async def _recognise_in_place(self, image: PageRaster) -> OcrPage:
        """Give the place back when the thread is done with it, which may be after the caller has gone."""
        try:
            reader = await self._loaded()
            started = asyncio.get_running_loop().run_in_executor(self._workers, _timed, reader, image)
        except BaseException:
            self._places.give_back()
            raise
        self._running += 1
        self._requests += 1
        started.add_done_callback(self._finish)
        page, _ = await asyncio.shield(started)
        if isinstance(page, BaseException):
            raise _page_failure(page) from page
        return page

    def _finish(self, done: "asyncio.Future[tuple[OcrPage | Exception, float]]") -> None:
        self._running -= 1
        self._places.give_back()
        if done.cancelled():
            return
        page, seconds = done.result()
        self._seconds += seconds
        self._metrics.ocr_seconds.observe(seconds)
        if isinstance(page, Exception):
            self._errors += 1
            logger.warning("ocr.page_failed", engine=self.name, reason=_sentence(page))
        if self._shrink_timer is not None:
            self._shrink_timer.cancel()
        self._shrink_timer = asyncio.get_running_loop().call_later(_SHRINK_AFTER_SECONDS, self._shrink)

    def _shrink(self) -> None:
        if self._reader is not None and not self._running and self._state != "closed":
            self._workers.submit(self._reader.shrink)

    async def _loaded(self) -> Reader:
        if self._state == "closed":
            raise Unavailable("ocr", "the engine is closed")
        if self._reader is not None:
            return self._reader
        if self._load is None:
            if self._state == "failed" and self._clock() < self._retry_at:
                raise Unavailable("ocr", self._reason or "it did not start")
            self._load = asyncio.create_task(self._load_first())
        return await asyncio.shield(self._load)

    async def _load_first(self) -> Reader:
        """Try the sources in turn; a failure is remembered until its time to retry."""
        self._state = "loading"
        failures: list[str] = []
        try:
            with self._metrics.loading("ocr"):
                for source in self._sources:
                    self._init_total += 1
                    try:
                        reader = await asyncio.get_running_loop().run_in_executor(self._workers, source.load)
                    except Exception as error:  # a broken package may raise anything; it must not stop the rest
                        self._init_errors += 1
                        failures.append(f"{source.name} did not start: {_sentence(error)}")
                        logger.warning("ocr.init_failed", engine=source.name, reason=_sentence(error))
                        continue
                    return self._started(source, reader, failures)
                raise self._failed(failures)
        finally:
            self._load = None

    def _started(self, source: ReaderSource, reader: Reader, failures: list[str]) -> Reader:
        if self._state != "closed":
            self._reader, self._source, self._state = reader, source, "ready"
        self._reason = "; ".join(failures) or None
        self._retry_seconds = _FIRST_RETRY_SECONDS
        logger.info("ocr.ready", engine=source.name, threads=self._threads, version=source.version)
        return reader

    def _failed(self, failures: list[str]) -> Unavailable:
        self._reason = "; ".join(failures)
        if self._state != "closed":
            self._state = "failed"
        self._retry_at = self._clock() + self._retry_seconds
        self._retry_seconds = min(_LONGEST_RETRY_SECONDS, self._retry_seconds * 2)
        return Unavailable("ocr", self._reason)

    def status(self) -> OcrStatus:
        """Tell the state and the counters."""
        return OcrStatus(
            engine=self.name,
            state=self._state,
            reason=self._reason,
            threads=self._threads,
            queued=self._places.waiting,
            running=self._running,
            init_total=self._init_total,
            init_errors=self._init_errors,
            requests=self._requests,
            errors=self._errors,
            seconds=self._seconds,
        )

    async def unload(self) -> None:
        """Forget the models; pages being read keep theirs until they end. The preferred source is tried again."""
        if self._state == "ready":
            self._reader, self._state, self._reason = None, "idle", None

    async def close(self) -> None:
        """Refuse new and waiting pages, wait for the running ones."""
        self._state = "closed"
        self._reader = None
        if self._shrink_timer is not None:
            self._shrink_timer.cancel()
        if self._load is not None:
            await asyncio.wait([self._load])
        await asyncio.to_thread(self._workers.shutdown)


def _timed(reader: Reader, image: PageRaster) -> tuple[OcrPage | Exception, float]:
    """Read in a worker thread. An error comes back as a value: nobody may be waiting for it any more."""
    started = time.perf_counter()
    try:
        page: OcrPage | Exception = reader.read(image)
    except Exception as error:  # native runtimes raise kinds of their own; each fails only its page
        page = error
    return page, time.perf_counter() - started


def _page_failure(error: BaseException) -> DocumentFailure:
    if isinstance(error, MemoryError):
        return DocumentFailure("memory", "There was not enough memory to read a page image.")
    return DocumentFailure("internal", f"OCR failed on a page image: {_sentence(error)}")


def _sentence(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[-1]
