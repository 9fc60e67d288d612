"""Builds what finds passages."""

from perplex_mono.container.following import search_options
from perplex_mono.container.inference import Inference
from perplex_mono.container.ingestion import Ingestion
from perplex_mono.container.storage import Storage
from perplex_mono.ingestion.passages import StoredPassages
from perplex_mono.search.metrics import SearchMetrics
from perplex_mono.search.service import SearchService
from perplex_mono.settings import Settings


def search_service(
    settings: Settings, storage: Storage, inference: Inference, ingestion: Ingestion, metrics: SearchMetrics
) -> SearchService:
    """Searches by the settings, with texts as they were read from the pages."""
    return SearchService(
        storage.database,
        storage.vectors,
        inference.models,
        StoredPassages(ingestion.pages),
        search_options(settings),
        inference.priority,
        metrics,
    )
