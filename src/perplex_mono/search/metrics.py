"""Searches in figures: by mode, by step, and by arm (the ranking by meaning, and the one by words)."""

import time
from collections.abc import Coroutine
from typing import Any, Final, Literal

from prometheus_client import CollectorRegistry, Counter, Histogram

from perplex_mono.search.schemas import SearchMode
from perplex_mono.storage.vectors import VectorHit

Arm = Literal["dense", "sparse"]
Step = Literal["filter", "embed", "retrieve", "hydrate"]
SearchOutcome = Literal["answered", "cached", "refused", "failed"]
_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 30.0)


class SearchMetrics:
    """What searches do and how long it takes."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self._searches = Counter("searches", "Searches, by what became of them", ["mode", "outcome"], registry=registry)
        self._empty = Counter("searches_empty", "Searches that found nothing", ["mode"], registry=registry)
        self._seconds = Histogram(
            "search_duration_seconds",
            "Time of a search; one answered from memory does not count",
            ["mode"],
            buckets=_BUCKETS,
            registry=registry,
        )
        self._step_seconds = Histogram(
            "search_step_seconds", "Time of a step of a search", ["step"], buckets=_BUCKETS, registry=registry
        )
        self._arm_seconds = Histogram(
            "search_arm_seconds",
            "Time of one ranking in one index: by meaning (dense), by words (sparse)",
            ["arm"],
            buckets=_BUCKETS,
            registry=registry,
        )
        self._arm_hits = Counter(
            "search_arm_hits", "Passages that an arm found, before fusion", ["arm"], registry=registry
        )

    def ended(self, mode: SearchMode, outcome: SearchOutcome) -> None:
        """A search ended, without work or without an answer."""
        self._searches.labels(mode, outcome).inc()

    def answered(self, mode: SearchMode, *, hits: int, seconds: float) -> None:
        """A search was answered with so many passages."""
        self._searches.labels(mode, "answered").inc()
        self._seconds.labels(mode).observe(seconds)
        if not hits:
            self._empty.labels(mode).inc()

    def step(self, name: Step, seconds: float) -> None:
        """A step of a search was done."""
        self._step_seconds.labels(name).observe(seconds)

    async def arm(self, arm: Arm, search: Coroutine[Any, Any, list[VectorHit]]) -> list[VectorHit]:
        """Run one ranking."""
        started = time.perf_counter()
        hits = await search
        self._arm_seconds.labels(arm).observe(time.perf_counter() - started)
        self._arm_hits.labels(arm).inc(len(hits))
        return hits
