"""Builds the engines: embedding models by name, and OCR. Nothing is loaded yet."""

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial

from perplex_mono.container.metrics import Instruments
from perplex_mono.inference.embedder import Embedder
from perplex_mono.inference.engine import TorchEmbedder
from perplex_mono.inference.loading import find_files, load_encoder
from perplex_mono.inference.metrics import EngineMetrics, InferenceMetrics
from perplex_mono.inference.model_files import ModelFiles
from perplex_mono.inference.models import EmbeddingModel, EmbeddingModels, OpenModel
from perplex_mono.inference.ocr import OcrEngine
from perplex_mono.inference.ocr_engines import open_ocr
from perplex_mono.inference.priority import QueryPriority
from perplex_mono.inference.tokenizer import TokenCounter
from perplex_mono.ingestion.chunking import require_fitting
from perplex_mono.settings import Settings

MAX_QUEUED_QUERIES = 256
DEFAULT_BATCH_TOKENS = 4096
QUERIES_RECENT_SECONDS = 2.0
# Models of older indexes serve questions now and then; their memory is free again soon after.
OTHER_MODEL_IDLE_SECONDS = 600.0


@dataclass(frozen=True)
class Inference:
    """The models."""

    models: EmbeddingModels
    ocr: OcrEngine
    priority: QueryPriority

    @property
    def embedder(self) -> Embedder:
        """The engine of the model that is set."""
        return self.models.default.embedder


async def open_inference(
    settings: Settings,
    stack: AsyncExitStack,
    instruments: Instruments,
    *,
    embedder: Embedder | None,
    ocr: OcrEngine | None,
    open_model: OpenModel | None,
) -> Inference:
    """Describe the models and check that chunks fit; `embedder`, `ocr` and `open_model` replace what is set."""
    engines = _Engines(settings, instruments.inference)
    files, tokens = await asyncio.to_thread(_fitting, settings)
    default = EmbeddingModel(settings.embedding.model, embedder or engines.embedder(files), tokens)
    models = EmbeddingModels(default, open_model or engines.open_model)
    stack.push_async_callback(models.close)
    if ocr is None:
        ocr = await asyncio.to_thread(
            open_ocr,
            settings.ocr.engine,
            threads=settings.ocr.threads,
            batch_width=settings.ocr.batch_width,
            max_queued_pages=settings.ocr.max_queued_pages,
            metrics=instruments.inference,
        )
    stack.push_async_callback(ocr.close)
    EngineMetrics(models.statuses, ocr.status, instruments.exposition.registry)
    return Inference(models, ocr, engines.priority)


def require_workable(settings: Settings) -> None:
    """Raise `ConfigurationError` where the model is not on this machine, or chunks do not fit it. Blocks."""
    if not settings.embedding.allow_download:
        _fitting(settings)


def _fitting(settings: Settings) -> tuple[ModelFiles, TokenCounter]:
    files = find_files(settings.embedding.model, allow_download=settings.embedding.allow_download)
    chunking, tokens = settings.chunking, files.token_counter()
    require_fitting(chunking.strategy, chunking.max_tokens, chunking.overlap_tokens, tokens)
    return files, tokens


class _Engines:
    """Makes embedding engines as the settings say; all of them stand aside for questions to any."""

    def __init__(self, settings: Settings, metrics: InferenceMetrics) -> None:
        self._settings = settings.embedding
        self._metrics = metrics
        self.priority = QueryPriority(recent_seconds=QUERIES_RECENT_SECONDS)

    def open_model(self, name: str) -> EmbeddingModel:
        """A model beside the one that is set. Blocks; raises `ConfigurationError` when it is not on this machine."""
        files = find_files(name, allow_download=self._settings.allow_download)
        idle_seconds = self._settings.idle_unload_seconds or OTHER_MODEL_IDLE_SECONDS
        return EmbeddingModel(name, self.embedder(files, idle_seconds), files.token_counter())

    def embedder(self, files: ModelFiles, idle_unload_seconds: float | None = None) -> TorchEmbedder:
        """An engine for these files."""
        settings = self._settings
        return TorchEmbedder(
            files,
            partial(load_encoder, files, device=settings.device, dtype=settings.dtype),
            max_batch_tokens=settings.max_batch_tokens or DEFAULT_BATCH_TOKENS,
            max_queued_queries=MAX_QUEUED_QUERIES,
            max_queued_texts=settings.max_queued_texts,
            query_cache_entries=settings.query_cache_size,
            idle_unload_seconds=settings.idle_unload_seconds if idle_unload_seconds is None else idle_unload_seconds,
            threads=settings.threads or None,
            priority=self.priority,
            metrics=self._metrics,
        )
