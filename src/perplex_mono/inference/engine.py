"""The torch embedding engine: two lanes on the same weights, so that a question never waits behind a library."""

import asyncio
import threading
from collections.abc import Callable, Sequence

import numpy as np

from perplex_mono.errors import Overloaded, Unavailable
from perplex_mono.inference.batching import TokenBudget, tokens_that_fit
from perplex_mono.inference.embedder import EmbedderStatus, EmbeddingMode, Vectors
from perplex_mono.inference.encoder import TextEncoder
from perplex_mono.inference.lane import Lane, LaneRules
from perplex_mono.inference.memory import available_memory_bytes, usable_cores
from perplex_mono.inference.metrics import InferenceMetrics
from perplex_mono.inference.model_files import ModelFiles
from perplex_mono.inference.model_slot import COMPONENT, ModelSlot
from perplex_mono.inference.priority import QueryPriority, never_pause
from perplex_mono.inference.query_cache import QueryCache
from perplex_mono.inference.requests import EmbeddingRequest, TextSlots

REQUEST_TEXTS = 128  # a caller with more takes several turns, so that others come between
WINDOW_TEXTS = 512
QUERY_WINDOW_TEXTS = 32
MAX_WORKERS = 4  # of the ingestion lane


class TorchEmbedder:
    """An `Embedder` on local weights. Belongs to the event loop that starts it; the model lives on its own threads.

    `load` returns the loaded weights and runs on a model thread. Documents are computed by up to four workers, which
    share `threads` and `max_batch_tokens`, or `small_batch_tokens` while questions came within
    `queries_recent_seconds`, always so that `memory_reserve_bytes` stay free. Past `max_queued_queries` questions are
    refused; past `max_queued_texts` document callers wait. `idle_unload_seconds` 0 keeps the model for ever. Engines
    that share a `priority` stand aside for each other's questions.
    """

    def __init__(
        self,
        files: ModelFiles,
        load: Callable[[], TextEncoder],
        *,
        max_batch_tokens: int = 4096,
        small_batch_tokens: int = 256,
        queries_recent_seconds: float = 2.0,
        memory_reserve_bytes: int = 500_000_000,
        max_queued_queries: int = 256,
        max_queued_texts: int = 4096,
        query_cache_entries: int = 4096,
        idle_unload_seconds: float = 0.0,
        threads: int | None = None,
        ingestion_niceness: int = 19,
        retry_seconds: float = 1.0,
        available_memory: Callable[[], int] = available_memory_bytes,
        priority: QueryPriority | None = None,
        metrics: InferenceMetrics | None = None,
    ) -> None:
        self.model_key = files.model_key
        self.dimension = files.dimension
        self.max_tokens = files.max_tokens
        self._prompts: dict[EmbeddingMode, str] = {"query": files.query_prompt, "document": files.document_prompt}
        self._tokenizer = files.model_tokenizer()
        self._memory_reserve_bytes = memory_reserve_bytes
        self._max_queued_queries = max_queued_queries
        self._available_memory = available_memory
        self._changed = threading.Condition()
        self._metrics = metrics or InferenceMetrics()
        self._slot = ModelSlot(self._measured(load), self._changed, min_delay_seconds=retry_seconds)
        self._priority = priority or QueryPriority(recent_seconds=queries_recent_seconds)
        self._cache = QueryCache(query_cache_entries)
        self._slots = TextSlots(max_queued_texts)
        self._line: set[EmbeddingRequest] = set()
        threads = threads or usable_cores()
        self._workers = min(threads, MAX_WORKERS)
        self._query_budget = TokenBudget(max_batch_tokens)
        self._budget = TokenBudget(max(1, max_batch_tokens // self._workers))
        self._small_batch_tokens = small_batch_tokens
        self._queries = self._lane("query", threads=threads, niceness=0, idle_unload_seconds=idle_unload_seconds)
        self._documents = self._lane("document", threads=threads, niceness=ingestion_niceness, idle_unload_seconds=0.0)
        self._started = False
        self._queued_queries = 0
        self._reused = 0
        self._batch_tokens = 0

    async def start(self) -> None:
        """Begin to serve and load the model behind; returns at once."""
        self._started = True
        self._queries.start()
        self._documents.start()
        self._slot.want()

    async def embed_query(self, text: str) -> Vectors:
        """Return the unit vector of a question, shape `(dimension,)`, read-only.

        Raises `Overloaded` when too many questions wait, `Unavailable` or the model's own error when it cannot load.
        """
        self._require_started()
        return await self._cache.get((self.model_key, "query", text), lambda: self._compute_query(text))

    async def embed_documents(self, texts: Sequence[str]) -> Vectors:
        """Return unit vectors, shape `(len(texts), dimension)`, in order; equal texts are computed once.

        Waits its turn while the queue is full. All vectors or an error, never fewer.
        """
        self._require_started()
        unique = list(dict.fromkeys(texts))
        self._reused += len(texts) - len(unique)
        if not unique:
            return np.empty((0, self.dimension), dtype=np.float32)
        parts = [unique[start : start + REQUEST_TEXTS] for start in range(0, len(unique), REQUEST_TEXTS)]
        vectors: Vectors = np.concatenate(await self._embed_parts(parts))
        if len(unique) == len(texts):
            return vectors
        place = {text: index for index, text in enumerate(unique)}
        repeated: Vectors = vectors[[place[text] for text in texts]]
        return repeated

    def status(self) -> EmbedderStatus:
        """Return what the engine does right now; cheap, and safe at any time."""
        encoder = self._slot.encoder
        return EmbedderStatus(
            state=self._slot.state,
            model_key=self.model_key,
            reason=self._slot.reason,
            device=encoder.device if encoder else "",
            dtype=encoder.dtype if encoder else "",
            runtime=encoder.runtime if encoder else "",
            model_bytes=encoder.model_bytes if encoder else 0,
            queued_texts=self._slots.used,
            queued_queries=self._queued_queries,
            batch_tokens=self._batch_tokens,
            max_batch_tokens=self._budget.max_tokens,
            out_of_memory_count=self._budget.reductions + self._query_budget.reductions,
            restarts=self._slot.restarts,
            texts_done=self._documents.texts_done,
            texts_reused=self._reused,
            batches_done=self._documents.batches_done,
            queries_done=self._queries.texts_done,
            queries_cached=self._cache.hits,
            queries_shared=self._cache.shared,
        )

    async def unload(self) -> None:
        """Free the model's memory; the next call loads it again."""
        await asyncio.to_thread(self._slot.unload)

    async def close(self) -> None:
        """Fail what waits, let the batch in flight end (30 s at most), stop the threads."""
        self._queries.close()
        self._documents.close()
        self._slot.close()
        if self._started:
            await asyncio.to_thread(self._join)

    async def _compute_query(self, text: str) -> Vectors:
        if self._queued_queries >= self._max_queued_queries:
            raise Overloaded("Too many questions are waiting for the embedding model.", retry_after_seconds=1)
        request = EmbeddingRequest([text], "query", self.dimension)
        self._queued_queries += 1
        try:
            with self._priority.question():
                self._queries.submit(request)
                vector: Vectors = (await request.future)[0]
        finally:
            self._queued_queries -= 1
        vector.flags.writeable = False
        return vector

    async def _embed_parts(self, parts: list[list[str]]) -> list[Vectors]:
        requests: list[EmbeddingRequest] = []
        try:
            for part in parts:
                request = await self._submit_documents(part)
                requests.append(request)
            return list(await asyncio.gather(*(request.future for request in requests)))
        finally:
            for request in requests:
                request.future.cancel()  # no effect on those that are done

    async def _submit_documents(self, texts: list[str]) -> EmbeddingRequest:
        request = EmbeddingRequest(texts, "document", self.dimension)
        self._line.add(request)
        request.future.add_done_callback(lambda _: self._leave_line(request))
        try:
            taken = await self._slots.acquire(len(texts))
        except BaseException:
            request.future.cancel()
            raise
        request.future.add_done_callback(lambda _: self._slots.release(taken))
        self._documents.submit(request)
        return request

    def _leave_line(self, request: EmbeddingRequest) -> None:
        self._line.discard(request)
        if not request.future.cancelled():  # or else a caller has gone, and the model may hang
            for other in self._line:
                other.move_up()

    def _lane(self, name: EmbeddingMode, *, threads: int, niceness: int, idle_unload_seconds: float) -> Lane:
        query = name == "query"
        rules = LaneRules(
            name=name,
            mode=name,
            dimension=self.dimension,
            window_texts=QUERY_WINDOW_TEXTS if query else WINDOW_TEXTS,
            token_limit=self._query_limit if query else self._document_limit,
            pause=(lambda: never_pause) if query else self._priority.new_pause,
            works_alone=(lambda: False) if query else self._priority.recent,
            loads_model=query,
            workers=1 if query else self._workers,
            threads=threads if query else threads // self._workers,
            niceness=niceness,
            idle_unload_seconds=idle_unload_seconds,
        )
        budget = self._query_budget if query else self._budget
        return Lane(rules, self._slot, self._changed, self._tokenize, budget, self._metrics)

    def _measured(self, load: Callable[[], TextEncoder]) -> Callable[[], TextEncoder]:
        def load_and_measure() -> TextEncoder:
            with self._metrics.loading("embedding"):
                return load()

        return load_and_measure

    def _tokenize(self, texts: Sequence[str], mode: EmbeddingMode) -> list[list[int]]:
        prompt = self._prompts[mode]
        return self._tokenizer.encode([prompt + text for text in texts] if prompt else texts)

    def _query_limit(self, encoder: TextEncoder) -> int:
        return self._query_budget.current

    def _document_limit(self, encoder: TextEncoder) -> int:
        """Return what the next batch may hold: by experience, by free memory, and by politeness towards questions."""
        on_device = encoder.free_memory_bytes()
        room = tokens_that_fit(
            self._available_memory() if on_device is None else on_device,
            reserve_bytes=self._memory_reserve_bytes,
            bytes_per_token=encoder.bytes_per_token * self._workers,
        )
        limit = min(room, self._budget.current)
        self._batch_tokens = min(limit, self._small_batch_tokens) if self._priority.recent() else limit
        return self._batch_tokens

    def _join(self) -> None:
        self._queries.join(timeout_seconds=15)
        self._documents.join(timeout_seconds=15)

    def _require_started(self) -> None:
        if not self._started:
            raise Unavailable(COMPONENT, "it has not been started")
