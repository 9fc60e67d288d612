"""The one loaded model: loaded on demand, dropped when idle or broken, loaded again later and later while it fails."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from loguru import logger

from perplex_mono.errors import ConfigurationError, DataCorrupt, PerplexError, Unavailable
from perplex_mono.inference.embedder import EmbedderState
from perplex_mono.inference.encoder import TextEncoder
from perplex_mono.inference.memory import return_free_memory, settle_objects

COMPONENT = "embedder"


class ModelSlot:
    """Shared by the lanes, guarded by their common condition `changed`.

    One lane loads (the query lane: loading must not run at the ingestion lane's low priority), the other waits for it.
    After a failure nothing is tried before `min_delay_seconds`, doubled each time up to `max_delay_seconds`.
    """

    def __init__(
        self,
        load: Callable[[], TextEncoder],
        changed: threading.Condition,
        *,
        min_delay_seconds: float = 1.0,
        max_delay_seconds: float = 60.0,
    ) -> None:
        self._load = load
        self._changed = changed
        self._min_delay_seconds = min_delay_seconds
        self._max_delay_seconds = max_delay_seconds
        self._error: PerplexError | None = None
        self._failures = 0
        self._failed_loads = 0
        self._retry_at = 0.0
        self._users = 0
        self._last_used = time.monotonic()
        self.encoder: TextEncoder | None = None
        self.state: EmbedderState = "unloaded"
        self.wanted = False
        self.restarts = 0

    @property
    def reason(self) -> str:
        return str(self._error) if self._error and self.state == "failed" else ""

    def want(self) -> None:
        """Ask the loading lane to load, without waiting."""
        with self._changed:
            self.wanted = True
            self._changed.notify_all()

    def get(self) -> TextEncoder:
        """Return the model, loading it here and now. During the delay after a failure that failure is raised again."""
        with self._changed:
            self.wanted = False
            if self.encoder is not None:
                return self.encoder
            if self._error is not None and time.monotonic() < self._retry_at:
                raise self._error.with_traceback(None)
            self.state = "loading"
        return self._load_now()

    def wait(self) -> TextEncoder:
        """Return the model once the loading lane has it. Raises the next load's failure, and permanent ones at once."""
        with self._changed:
            failed_before = self._failed_loads
            while self.encoder is None:
                if self.state == "closed":
                    raise Unavailable(COMPONENT, "it is shutting down")
                if self._error is not None and self._failed_loads > failed_before:
                    raise self._error.with_traceback(None)
                delay = self._retry_at - time.monotonic()
                if delay > 0 and isinstance(self._error, ConfigurationError | DataCorrupt):
                    raise self._error.with_traceback(None)
                self.wanted = delay <= 0
                self._changed.notify_all()
                self._changed.wait(delay if delay > 0 else None)
            return self.encoder

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Keep the model from counting as idle."""
        with self._changed:
            self._users += 1
        try:
            yield
        finally:
            with self._changed:
                self._users -= 1
                self._last_used = time.monotonic()

    def idle_seconds(self) -> float | None:
        """Return how long a loaded model has had nothing to do; None if it is busy or not loaded."""
        if self.encoder is None or self._users:
            return None
        return time.monotonic() - self._last_used

    def mark_healthy(self) -> None:
        """A batch went through: the next failure starts with the shortest delay again."""
        self._failures = 0

    def discard(self, error: Exception) -> PerplexError:
        """Drop a model that broke while computing; return the error for those who waited for it."""
        with self._changed:
            self.encoder = None
            self.restarts += 1
            failure = self._fail(error)
        logger.opt(exception=error).error("embedding.model_broke", retry_in_seconds=self._retry_at - time.monotonic())
        return failure

    def unload(self) -> None:
        """Free the model's memory; the next use loads it again."""
        with self._changed:
            if self.encoder is None:
                return
            self.encoder = None
            self.state = "unloaded"
        settle_objects()
        return_free_memory()
        logger.info("embedding.model_unloaded")

    def close(self) -> None:
        with self._changed:
            self.encoder = None
            self.state = "closed"
            self._changed.notify_all()

    def _load_now(self) -> TextEncoder:
        started = time.monotonic()
        try:
            encoder = self._load()
        except Exception as error:  # whatever a model file or a driver can raise must reach the callers
            with self._changed:
                self._failed_loads += 1
                failure = self._fail(error)
            logger.opt(exception=error).error("embedding.load_failed", reason=str(error))
            raise failure from error
        with self._changed:
            if self.state == "closed":
                raise Unavailable(COMPONENT, "it is shutting down")
            self.encoder = encoder
            self._last_used = time.monotonic()
            self.state = "ready"
            self._error = None
            self._retry_at = 0.0
            self._changed.notify_all()
        logger.info(
            "embedding.model_loaded",
            device=encoder.device,
            dtype=encoder.dtype,
            runtime=encoder.runtime,
            seconds=round(time.monotonic() - started, 2),
        )
        return encoder

    def _fail(self, error: Exception) -> PerplexError:
        reason = f"{type(error).__name__}: {error}"
        failure = error if isinstance(error, PerplexError) else Unavailable(COMPONENT, reason)
        delay = min(self._max_delay_seconds, self._min_delay_seconds * 2**self._failures)
        self._failures = min(self._failures + 1, 30)
        self._retry_at = time.monotonic() + delay
        self._error = failure
        if self.state != "closed":
            self.state = "failed"
        self._changed.notify_all()
        return failure
