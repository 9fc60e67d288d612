"""Builds what stands between the server and the services: the feeds' hub, and how the components are."""

from functools import partial

from perplex_mono.accounts.authentication import Authenticator
from perplex_mono.container.background import Background
from perplex_mono.container.inference import Inference
from perplex_mono.container.ingestion import Ingestion
from perplex_mono.container.metrics import Instruments
from perplex_mono.container.storage import Storage
from perplex_mono.inference.readiness import embedding_status, ocr_status
from perplex_mono.ingestion.readiness import readers_status
from perplex_mono.settings import Settings
from perplex_mono.storage.readiness import database_status, vectors_status
from perplex_mono.telemetry.resources import ResourceProbes
from perplex_mono.web.health import PROBE_TIMEOUT_SECONDS, HealthService, Probe
from perplex_mono.web.metrics import ComponentMetrics
from perplex_mono.web.sockets import SocketHub

# Asking the components writes a row, so those who look often are told the same for a while.
COMPONENTS_KEEP_SECONDS = 5.0


def socket_hub(settings: Settings, instruments: Instruments, authenticator: Authenticator) -> SocketHub:
    """Where feeds are opened and counted."""
    return SocketHub(
        per_user=settings.limits.sockets_per_user,
        total=settings.limits.sockets_total,
        is_valid=authenticator.is_valid,
        metrics=instruments.sockets,
    )


def resource_probes(settings: Settings, storage: Storage) -> ResourceProbes:
    """How memory, processor and disk are."""
    return ResourceProbes(
        storage.directory.path,
        memory_fraction=settings.limits.memory_warning_fraction,
        processor_fraction=settings.limits.processor_warning_fraction,
    )


def health_service(
    instruments: Instruments,
    storage: Storage,
    inference: Inference,
    ingestion: Ingestion,
    background: Background,
    resources: ResourceProbes,
) -> HealthService:
    """Asks all components, for `/ready` and for the metrics."""
    vital: dict[str, Probe] = {
        "database": partial(database_status, storage.database),
        "vectors": partial(vectors_status, storage.vectors),
    }
    others: dict[str, Probe] = {
        "embedding": partial(embedding_status, inference.embedder),
        "ocr": partial(ocr_status, inference.ocr),
        "readers": partial(readers_status, ingestion.readers),
        **background.probes,
        "memory": resources.memory,
        "processor": resources.processor,
        "disk": resources.disk,
    }
    service = HealthService(instruments.process, vital=vital, others=others)
    exposition = instruments.exposition
    components = ComponentMetrics(service, exposition.registry)
    exposition.count_with(
        "components", components, timeout_seconds=PROBE_TIMEOUT_SECONDS + 1, keep_seconds=COMPONENTS_KEEP_SECONDS
    )
    return service
