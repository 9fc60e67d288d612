"""The instruments of every slice, in one registry."""

from perplex_mono.answers.metrics import AnswerMetrics
from perplex_mono.inference.metrics import InferenceMetrics
from perplex_mono.ingestion.metrics import IngestionMetrics
from perplex_mono.operations.metrics import OperationMetrics
from perplex_mono.search.metrics import SearchMetrics
from perplex_mono.sources.metrics import SourceMetrics
from perplex_mono.storage.metrics import DatabaseMetrics, VectorMetrics
from perplex_mono.telemetry.metrics import Metrics
from perplex_mono.telemetry.process_metrics import ProcessMetrics
from perplex_mono.web.metrics import HttpMetrics, SocketMetrics


class Instruments:
    """One of each; every slice gets its own."""

    def __init__(self) -> None:
        self.exposition = Metrics()
        registry = self.exposition.registry
        self.process = ProcessMetrics(registry)
        self.http = HttpMetrics(registry)
        self.sockets = SocketMetrics(registry)
        self.operations = OperationMetrics(registry)
        self.ingestion = IngestionMetrics(registry)
        self.inference = InferenceMetrics(registry)
        self.search = SearchMetrics(registry)
        self.answers = AnswerMetrics(registry)
        self.sources = SourceMetrics(registry)
        self.database = DatabaseMetrics(registry)
        self.vectors = VectorMetrics(registry)
