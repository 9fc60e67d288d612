"""A stand-in for the OCR models that reads a page only when a test allows it, behind the real queue and threads."""

import threading

from perplex_mono.inference.fake_ocr import page_of
from perplex_mono.inference.ocr import OcrPage, PageRaster
from perplex_mono.inference.ocr_pool import PooledOcrEngine, ReaderSource
from tests.app_client import SCANNED_TEXT


class StepwiseReader:
    """Reads as many pages as it is allowed to, on threads, and remembers which it began."""

    def __init__(self) -> None:
        self.begun: list[bytes] = []
        self._allowed = threading.Semaphore(0)

    def allow(self, pages: int) -> None:
        """Let so many more be read to their end."""
        self._allowed.release(pages)

    def read(self, raster: PageRaster) -> OcrPage:
        self.begun.append(raster.pixels)
        assert self._allowed.acquire(timeout=60)
        return page_of(*SCANNED_TEXT)

    def shrink(self) -> None:
        pass

    def engine(self, *, threads: int, max_queued_pages: int = 16) -> PooledOcrEngine:
        """The engine whose threads read with it."""
        source = ReaderSource("stepwise", "1", lambda: self)
        return PooledOcrEngine((source,), threads=threads, max_queued_pages=max_queued_pages)
