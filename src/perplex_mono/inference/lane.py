"""Threads with a queue that feed one model: take texts of many callers, batch them, hand every vector home.

Several threads of one compute thread each beat one of several: no batch waits at a barrier for its other half, which on
a busy machine another program has pushed aside.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from loguru import logger

from perplex_mono.errors import InvalidInput, PerplexError, Unavailable
from perplex_mono.inference.batching import TokenBudget, Window
from perplex_mono.inference.device import is_out_of_memory
from perplex_mono.inference.embedder import EmbeddingMode, Vectors
from perplex_mono.inference.encoder import EncoderInput, Pause, TextEncoder
from perplex_mono.inference.metrics import InferenceMetrics
from perplex_mono.inference.model_slot import COMPONENT, ModelSlot
from perplex_mono.inference.priority import lower_thread_priority
from perplex_mono.inference.requests import EmbeddingRequest
from perplex_mono.telemetry.traces import span

SIT_OUT_SECONDS = 0.25
MIN_SHARE_TOKENS = 256  # below which a batch is not worth dividing among workers

Tokenize = Callable[[Sequence[str], EmbeddingMode], list[list[int]]]


@dataclass(frozen=True)
class LaneRules:
    """How a lane behaves: what it serves, how much it takes together, and for whom it stands aside.

    `token_limit` is asked before every batch. `pause` makes the pause of one batch. `loads_model`: exactly one lane
    does. `workers` batches are computed at a time, each on `threads` compute threads, all of the lane's own priority.
    """

    name: str
    mode: EmbeddingMode
    dimension: int
    window_texts: int
    token_limit: Callable[[TextEncoder], int]
    pause: Callable[[], Pause]
    works_alone: Callable[[], bool]
    loads_model: bool
    workers: int
    threads: int
    niceness: int
    idle_unload_seconds: float


@dataclass(frozen=True)
class _Text:
    request: EmbeddingRequest
    index: int
    input: EncoderInput


class Lane:
    """Serves requests first come, first served, in windows; see `batching`."""

    def __init__(
        self,
        rules: LaneRules,
        slot: ModelSlot,
        changed: threading.Condition,
        tokenize: Tokenize,
        budget: TokenBudget,
        metrics: InferenceMetrics,
    ) -> None:
        self._rules = rules
        self._slot = slot
        self._changed = changed
        self._tokenize = tokenize
        self._budget = budget
        self._metrics = metrics
        self._inbox: deque[EmbeddingRequest] = deque()
        self._window: Window[_Text] = Window()
        self._share = 0
        self._closing = False
        self._threads = [
            threading.Thread(target=self._run, args=(number,), name=f"embedding-{rules.name}-{number}", daemon=True)
            for number in range(rules.workers)
        ]
        self.texts_done = 0
        self.batches_done = 0

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def submit(self, request: EmbeddingRequest) -> None:
        """Queue a request; its future ends in any case."""
        with self._changed:
            if not self._closing:
                self._inbox.append(request)
                self._changed.notify_all()
                return
        request.fail(Unavailable(COMPONENT, "it is shutting down"))

    def close(self) -> None:
        """Stop after the batches in flight; whatever waits fails."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()

    def join(self, timeout_seconds: float) -> None:
        for thread in self._threads:
            if thread.is_alive():
                thread.join(timeout_seconds)

    def _run(self, number: int) -> None:
        lower_thread_priority(self._rules.niceness)
        while not self._closing:
            try:
                self._serve(number)
            except Exception as error:  # the thread must outlive any failure
                self._fail_waiting(self._slot.discard(error))
        self._fail_waiting(Unavailable(COMPONENT, "it is shutting down"))

    def _serve(self, number: int) -> None:
        """Work until closing. Errors of the model are handled here; anything else is a crash and handled by `_run`."""
        while not self._closing:
            if number and self._rules.works_alone():
                self._sit_out()
                continue
            if not len(self._window):
                self._refill()
                continue
            try:
                encoder = self._slot.get() if self._rules.loads_model else self._slot.wait()
            except PerplexError as error:
                self._fail_waiting(error)
                continue
            with self._slot.in_use():
                self._work(encoder)

    def _sit_out(self) -> None:
        with self._changed:
            self._changed.wait(SIT_OUT_SECONDS)

    def _refill(self) -> None:
        """Wait for requests and put them into the window, in the order they came, unless another worker has."""
        taken: list[EmbeddingRequest] = []
        with self._changed:
            while not self._inbox and not len(self._window) and not self._closing and not self._model_wanted():
                self._changed.wait(self._seconds_to_idle())
                self._unload_when_idle()
            total = 0
            while self._inbox and not len(self._window) and total < self._rules.window_texts:
                taken.append(self._inbox.popleft())
                total += len(taken[-1].texts)
        if self._model_wanted():
            self._preload()
        wanted = (request for request in taken if not request.abandoned)
        texts = [text for request in wanted for text in request.context.copy().run(self._tokens, request)]
        if texts:
            self._fill(texts)

    def _tokens(self, request: EmbeddingRequest) -> list[_Text]:
        """The request's texts with their tokens; none when it had to be refused."""
        try:
            ids = self._tokenize(request.texts, request.mode)
        except Exception as error:  # half a surrogate pair, for one; it concerns this caller alone
            logger.warning("embedding.text_refused", reason=f"{type(error).__name__}: {error}")
            request.fail(InvalidInput("The text cannot be read as Unicode."))
            return []
        rows = zip(request.texts, ids, strict=True)
        return [_Text(request, index, EncoderInput(text, row)) for index, (text, row) in enumerate(rows)]

    def _fill(self, texts: list[_Text]) -> None:
        counts = [len(text.input.token_ids) for text in texts]
        with self._changed:
            self._window.fill(texts, counts)
            self._share = sum(counts) // self._rules.workers + max(counts) // 2  # half a text: rounds to the nearest
            self._changed.notify_all()

    def _work(self, encoder: TextEncoder) -> None:
        """Take one batch to the model and its vectors to their callers; workers share what a small window holds."""
        limit = self._rules.token_limit(encoder)
        with self._changed:
            batch, tokens = self._window.take(min(limit, max(self._share, MIN_SHARE_TOKENS)))
        batch = [text for text in batch if not text.request.abandoned]
        if not batch:
            return
        for request in {text.request for text in batch}:
            request.begin()
        try:
            # Another worker may be in the same caller's context, which only one can enter.
            batch[0].request.context.copy().run(self._compute, encoder, batch, tokens)
        except Exception as error:  # a model or a driver can raise anything; nobody may be left waiting
            self._fail(batch, self._slot.discard(error))

    def _compute(self, encoder: TextEncoder, batch: list[_Text], tokens: int) -> None:
        try:
            vectors = self._encode(encoder, batch, tokens)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            self._divide(encoder, batch, tokens)
            return
        self._deliver(batch, vectors)
        self._budget.succeed()
        self._slot.mark_healthy()

    def _encode(self, encoder: TextEncoder, batch: list[_Text], tokens: int) -> Vectors:
        _use_threads(self._rules.threads)
        callers = [text.request.caller for text in batch]
        started = time.perf_counter()
        with span("embedding.batch", callers, lane=self._rules.name, texts=len(batch), tokens=tokens):
            vectors = encoder.encode([text.input for text in batch], self._rules.mode, self._rules.pause())
        seconds = time.perf_counter() - started
        self._metrics.batch(self._rules.name, texts=len(batch), tokens=tokens, seconds=seconds)
        return vectors

    def _divide(self, encoder: TextEncoder, batch: list[_Text], tokens: int) -> None:
        """Memory ran out: take the texts up again in batches of half the size; a single one fails."""
        encoder.release_cached_memory()
        if len(batch) == 1:
            logger.warning("embedding.text_too_large", tokens=tokens)
            self._fail(batch, Unavailable(COMPONENT, "there is not enough memory for even one text"))
            return
        self._budget.shrink(tokens)
        logger.warning("embedding.out_of_memory", batch_tokens=tokens, next_batch_tokens=self._budget.current)
        self._fill(batch)

    def _deliver(self, batch: list[_Text], vectors: Vectors) -> None:
        if vectors.shape != (len(batch), self._rules.dimension):
            raise RuntimeError(f"it returned vectors of shape {vectors.shape} for {len(batch)} texts")
        finite = np.isfinite(vectors.sum(axis=1))
        with self._changed:
            self.texts_done += int(finite.sum())
            self.batches_done += 1
        for text, vector, good in zip(batch, vectors, finite, strict=True):
            if good:
                text.request.deliver(text.index, vector)
            else:
                text.request.fail(Unavailable(COMPONENT, "the model returned a vector that is not a number"))

    @staticmethod
    def _fail(batch: list[_Text], error: PerplexError) -> None:
        for text in batch:
            text.request.fail(error)

    def _fail_waiting(self, error: PerplexError) -> None:
        """Fail what is in the window; when closing also what still waits in the queue."""
        with self._changed:
            texts = self._window.clear()
            waiting = list(self._inbox) if self._closing else []
            if self._closing:
                self._inbox.clear()
        self._fail(texts, error)
        for request in waiting:
            request.fail(error)

    def _model_wanted(self) -> bool:
        return self._rules.loads_model and self._slot.wanted

    def _preload(self) -> None:
        try:
            self._slot.get()
        except PerplexError:
            return  # the slot keeps it for status and for whoever waits

    def _seconds_to_idle(self) -> float | None:
        idle = self._slot.idle_seconds()
        if not self._rules.loads_model or not self._rules.idle_unload_seconds:
            return None
        return self._rules.idle_unload_seconds if idle is None else max(0.05, self._rules.idle_unload_seconds - idle)

    def _unload_when_idle(self) -> None:
        idle = self._slot.idle_seconds()
        limit = self._rules.idle_unload_seconds
        if self._rules.loads_model and limit and idle is not None and idle >= limit:
            self._slot.unload()


def _use_threads(count: int) -> None:
    """Set the calling thread's number of compute threads; OpenMP keeps number and team per calling thread."""
    import torch

    if torch.get_num_threads() != count:
        torch.set_num_threads(count)
