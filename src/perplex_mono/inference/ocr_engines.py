"""Chooses the OCR engine: the one place that knows which there are."""

from functools import partial
from typing import Literal

from perplex_mono.errors import Unavailable
from perplex_mono.inference.memory import usable_cores
from perplex_mono.inference.metrics import InferenceMetrics
from perplex_mono.inference.ocr import OcrEngine, OcrPage, OcrStatus, PageRaster
from perplex_mono.inference.ocr_models import RAPIDOCR, RAPIDOCR_ONNXRUNTIME, ModelFiles
from perplex_mono.inference.ocr_pool import PooledOcrEngine, Reader, ReaderSource

EngineName = Literal["rapidocr", "rapidocr-onnxruntime", "none"]


def open_ocr(
    engine: EngineName,
    *,
    threads: int = 0,
    batch_width: int = 1,
    max_queued_pages: int = 16,
    lower_priority: bool = True,
    metrics: InferenceMetrics | None = None,
) -> OcrEngine:
    """Give the engine of that name, not yet loaded; the other one stands in when it cannot start.

    `threads` pages are read at once, 0 meaning one for each core this process may use; `batch_width` lines of equal
    width share a run of the model; `lower_priority` lets the rest of the process go first.
    Reads the model files (45 MB) for their hash: call it off the event loop.
    """
    if engine == "none":
        return DisabledOcrEngine()
    threads = threads or usable_cores()
    order = [RAPIDOCR, RAPIDOCR_ONNXRUNTIME]
    if engine == RAPIDOCR_ONNXRUNTIME.engine:
        order.reverse()
    sources = tuple(
        ReaderSource(files.engine, files.version(), partial(_load, files, threads, batch_width)) for files in order
    )
    return PooledOcrEngine(
        sources, threads=threads, max_queued_pages=max_queued_pages, lower_priority=lower_priority, metrics=metrics
    )


def _load(files: ModelFiles, threads: int, batch_width: int) -> Reader:
    # Imported here, in the loading thread: it pulls in ONNX Runtime and OpenCV, which nothing else may wait for.
    from perplex_mono.inference.ocr_rapid import PageReader

    return PageReader(files, threads=threads, batch_width=batch_width)


class DisabledOcrEngine:
    """The engine of an owner who wants none: every page is refused with that reason."""

    name = "none"
    version = "none"

    async def recognise(self, image: PageRaster, *, is_urgent: bool = False) -> OcrPage:
        """Refuse."""
        raise Unavailable("ocr", "it is switched off (ocr.engine is none)")

    def status(self) -> OcrStatus:
        """Tell that it is switched off."""
        return OcrStatus("none", "disabled", "switched off (ocr.engine is none)", 0, 0, 0, 0, 0, 0, 0, 0.0)

    async def unload(self) -> None:
        """Hold nothing, free nothing."""

    async def close(self) -> None:
        """Hold nothing, close nothing."""
