"""How the storage floor is, for `/ready`."""

from perplex_mono.storage.database import Database
from perplex_mono.storage.starting import Starting
from perplex_mono.storage.vectors import VectorStore
from perplex_mono.telemetry.supervision import ComponentStatus


async def database_status(database: Database) -> ComponentStatus:
    """Ok when a row can be read and written; raises what the driver raises."""
    await database.check()
    return ComponentStatus("database", "ok", None)


async def vectors_status(vectors: Starting[VectorStore]) -> ComponentStatus:
    """Down until the store is open, degraded while a table cannot be used or may lack what was moved aside."""
    status = vectors.status()
    if status.state != "ok":
        return status
    store = vectors.get()
    troubles = [f"{table.name}: {table.reason}" for table in await store.health() if not table.ok] + store.repairs
    if not troubles:
        return ComponentStatus("vectors", "ok", None)
    reason = "; ".join(troubles) + "; `perplex-mono doctor --repair` puts back what is missing"
    return ComponentStatus("vectors", "degraded", reason)
