"""A thread with a queue that feeds one model: takes texts of many callers, batches them, hands every vector home."""

import threading
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
from perplex_mono.inference.model_slot import COMPONENT, ModelSlot
from perplex_mono.inference.priority import lower_thread_priority
from perplex_mono.inference.requests import EmbeddingRequest
from perplex_mono.telemetry.traces import span

Tokenize = Callable[[Sequence[str], EmbeddingMode], list[list[int]]]


@dataclass(frozen=True)
class LaneRules:
    """How a lane behaves: what it serves, how much it takes together, and for whom it stands aside.

    `token_limit` is asked before every batch. `pause` makes the pause of one batch. `loads_model`: exactly one lane
    does. `threads` is the number of compute threads (each lane has its own, of its own priority).
    """

    name: str
    mode: EmbeddingMode
    dimension: int
    window_texts: int
    token_limit: Callable[[TextEncoder], int]
    pause: Callable[[], Pause]
    loads_model: bool
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
    ) -> None:
        self._rules = rules
        self._slot = slot
        self._changed = changed
        self._tokenize = tokenize
        self._budget = budget
        self._inbox: deque[EmbeddingRequest] = deque()
        self._window: Window[_Text] = Window()
        self._in_flight: list[_Text] = []
        self._closing = False
        self._thread = threading.Thread(target=self._run, name=f"embedding-{rules.name}", daemon=True)
        self.texts_done = 0
        self.batches_done = 0

    def start(self) -> None:
        self._thread.start()

    def submit(self, request: EmbeddingRequest) -> None:
        """Queue a request; its future ends in any case."""
        with self._changed:
            if not self._closing:
                self._inbox.append(request)
                self._changed.notify_all()
                return
        request.fail(Unavailable(COMPONENT, "it is shutting down"))

    def close(self) -> None:
        """Stop after the batch in flight; whatever waits fails."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()

    def join(self, timeout_seconds: float) -> None:
        if self._thread.is_alive():
            self._thread.join(timeout_seconds)

    def _run(self) -> None:
        lower_thread_priority(self._rules.niceness)
        while not self._closing:
            try:
                self._serve()
            except Exception as error:  # the thread must outlive any failure
                self._fail_waiting(self._slot.discard(error))
        self._fail_waiting(Unavailable(COMPONENT, "it is shutting down"))

    def _serve(self) -> None:
        """Work until closing. Errors of the model are handled here; anything else is a crash and handled by `_run`."""
        while not self._closing:
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

    def _refill(self) -> None:
        """Fill the window with requests in the order they came, waiting for the first."""
        taken: list[EmbeddingRequest] = []
        with self._changed:
            while not self._inbox and not self._closing and not self._model_wanted():
                self._changed.wait(self._seconds_to_idle())
                self._unload_when_idle()
            total = 0
            while self._inbox and total < self._rules.window_texts:
                taken.append(self._inbox.popleft())
                total += len(taken[-1].texts)
        if self._model_wanted():
            self._preload()
        for request in taken:
            if not request.abandoned:
                self._add_or_fail(request)

    def _add_or_fail(self, request: EmbeddingRequest) -> None:
        try:
            self._add(request)
        except Exception as error:  # half a surrogate pair, for one; it concerns this caller alone
            logger.warning("embedding.text_refused", reason=f"{type(error).__name__}: {error}")
            request.fail(InvalidInput("The text cannot be read as Unicode."))

    def _add(self, request: EmbeddingRequest) -> None:
        ids = self._tokenize(request.texts, request.mode)
        texts = [
            _Text(request, index, EncoderInput(text, row))
            for index, (text, row) in enumerate(zip(request.texts, ids, strict=True))
        ]
        self._window.fill(texts, [len(row) for row in ids])

    def _work(self, encoder: TextEncoder) -> None:
        """Take one batch to the model and its vectors to their callers."""
        batch, tokens = self._window.take(self._rules.token_limit(encoder))
        self._in_flight = [text for text in batch if not text.request.abandoned]
        if not self._in_flight:
            return
        try:
            vectors = self._in_flight[0].request.context.run(self._encode, encoder, self._in_flight, tokens)
        except Exception as error:  # a model can raise anything; nobody may be left waiting
            self._after_failure(encoder, error, tokens)
        else:
            self._budget.succeed()
            self._slot.mark_healthy()
            self._deliver(vectors)
        self._in_flight = []

    def _encode(self, encoder: TextEncoder, batch: list[_Text], tokens: int) -> Vectors:
        _use_threads(self._rules.threads)
        with span("embedding.batch", lane=self._rules.name, texts=len(batch), tokens=tokens):
            return encoder.encode([text.input for text in batch], self._rules.mode, self._rules.pause())

    def _after_failure(self, encoder: TextEncoder, error: Exception, tokens: int) -> None:
        batch = self._in_flight
        if not is_out_of_memory(error):
            failure = self._slot.discard(error)
            for text in batch:
                text.request.fail(failure)
            return
        encoder.release_cached_memory()
        if len(batch) == 1:
            logger.warning("embedding.text_too_large", tokens=tokens)
            batch[0].request.fail(Unavailable(COMPONENT, "there is not enough memory for even one text"))
            return
        self._budget.shrink(tokens)
        logger.warning("embedding.out_of_memory", batch_tokens=tokens, next_batch_tokens=self._budget.current)
        self._window.fill(batch, [len(text.input.token_ids) for text in batch])

    def _deliver(self, vectors: Vectors) -> None:
        if vectors.shape != (len(self._in_flight), self._rules.dimension):
            wrong = f"it returned vectors of shape {vectors.shape} for {len(self._in_flight)} texts"
            raise RuntimeError(wrong)
        finite = np.isfinite(vectors.sum(axis=1))
        for text, vector, good in zip(self._in_flight, vectors, finite, strict=True):
            if good:
                text.request.deliver(text.index, vector)
            else:
                text.request.fail(Unavailable(COMPONENT, "the model returned a vector that is not a number"))
        self.texts_done += int(finite.sum())
        self.batches_done += 1

    def _fail_waiting(self, error: PerplexError) -> None:
        """Fail what this lane has taken; when closing also what still waits in the queue."""
        texts = [*self._in_flight, *self._window.clear()]
        self._in_flight = []
        for text in texts:
            text.request.fail(error)
        with self._changed:
            waiting = list(self._inbox) if self._closing else []
            if self._closing:
                self._inbox.clear()
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
