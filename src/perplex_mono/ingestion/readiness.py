"""How the reader children are, for `/ready`."""

from perplex_mono.ingestion.reader_pool import ReaderPool
from perplex_mono.telemetry.supervision import ComponentState, ComponentStatus


def readers_status(readers: ReaderPool) -> ComponentStatus:
    """Ok unless children cannot be started."""
    status = readers.status()
    state: ComponentState = "ok" if status.state == "ready" else "degraded"
    return ComponentStatus("readers", state, status.reason or None, restarts=status.replaced)
