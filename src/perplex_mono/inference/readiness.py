"""How the models are, for `/ready`: never worse than degraded, the server works without them."""

from perplex_mono.inference.embedder import Embedder
from perplex_mono.inference.ocr import OcrEngine
from perplex_mono.telemetry.supervision import ComponentStatus


def embedding_status(embedder: Embedder) -> ComponentStatus:
    """Ok when loaded, or put aside to be loaded again on demand."""
    status = embedder.status()
    is_well = status.state in ("ready", "unloaded")
    reason = None if is_well else status.reason or f"the model is {status.state}"
    return ComponentStatus("embedding", "ok" if is_well else "degraded", reason, restarts=status.restarts)


def ocr_status(ocr: OcrEngine) -> ComponentStatus:
    """Ok until it was needed and could not start."""
    status = ocr.status()
    is_well = status.state in ("idle", "ready", "loading") and status.reason is None
    return ComponentStatus("ocr", "ok" if is_well else "degraded", status.reason)
