"""A question becomes ranked passages: two rankings, fused by rank, hydrated from the truth in SQLite."""

import asyncio
import time
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import msgspec

from perplex_mono.errors import REFUSALS, InvalidInput, NotFound, Unavailable
from perplex_mono.inference.models import EmbeddingModels
from perplex_mono.inference.priority import QueryPriority
from perplex_mono.library.passages import PassageReader
from perplex_mono.search.cache import SearchCache
from perplex_mono.search.fusion import fuse, ranks_of
from perplex_mono.search.hits import Found, HitReader
from perplex_mono.search.metrics import SearchMetrics, Step
from perplex_mono.search.schemas import (
    Hit,
    SearchMode,
    SearchRequest,
    SearchResponse,
)
from perplex_mono.search.targets import SearchTargets, Target
from perplex_mono.storage.database import Database
from perplex_mono.storage.starting import Starting
from perplex_mono.storage.vectors import VectorHit, VectorStore
from perplex_mono.telemetry.traces import span

MAX_ROUNDS = 3


@dataclass(frozen=True)
class SearchOptions:
    """How lists are made and fused; see `config.toml`, section search."""

    rrf_k: int
    dense_weight: float
    sparse_weight: float
    candidates: int
    max_query_chars: int
    max_limit: int
    timeout_seconds: float
    cache_size: int


@dataclass
class _Clock:
    """Milliseconds by step."""

    metrics: SearchMetrics
    timings: dict[str, float] = field(default_factory=dict)
    _start: float = field(default_factory=time.perf_counter)

    def lap(self, name: Step, since: float) -> float:
        now = time.perf_counter()
        self.metrics.step(name, now - since)
        self.timings[name] = round((now - since) * 1000 + self.timings.get(name, 0.0), 2)
        return now

    def total(self) -> dict[str, float]:
        return {**self.timings, "total": _milliseconds(self._start)}


class SearchService:
    """Searches the owner's collections."""

    def __init__(
        self,
        database: Database,
        vectors: Starting[VectorStore],
        models: EmbeddingModels,
        passages: PassageReader,
        options: SearchOptions,
        priority: QueryPriority,
        metrics: SearchMetrics | None = None,
    ) -> None:
        self._database = database
        self._hits = HitReader(database, passages)
        self._vectors = vectors
        self._targets = SearchTargets(database, models)
        self._options = options
        self._priority = priority
        self._metrics = metrics or SearchMetrics()
        self._cache = SearchCache(options.cache_size)

    def use(self, options: SearchOptions) -> None:
        """Search by these options from now on; what is remembered was found by others."""
        self._options = options
        self._cache = SearchCache(options.cache_size)

    async def search(self, request: SearchRequest, owner_id: str) -> SearchResponse:
        """The best passages for the query.

        Raises `InvalidInput` for a query or limit out of range, `NotFound` for a collection, `Unavailable` while the
        index cannot be searched, `Overloaded` when too many queries wait for the model.
        """
        self._check(request)
        started, key, changes = time.perf_counter(), SearchCache.key(request, owner_id), self._database.changes
        cache = self._cache
        known = cache.find(key, changes)
        if known is not None:
            self._metrics.ended(request.mode, "cached")
            return msgspec.structs.replace(known, timings_ms={"total": _milliseconds(started)})
        try:
            response = await self._search_in_time(request, owner_id)
        except Exception as error:
            self._metrics.ended(request.mode, "refused" if isinstance(error, REFUSALS) else "failed")
            raise
        self._metrics.answered(request.mode, hits=len(response.hits), seconds=time.perf_counter() - started)
        cache.keep(key, changes, response)
        return response

    async def _search_in_time(self, request: SearchRequest, owner_id: str) -> SearchResponse:
        try:
            async with asyncio.timeout(self._options.timeout_seconds):
                with span("search", mode=request.mode, limit=request.limit), self._priority.question():
                    return await self._search(request, owner_id)
        except TimeoutError:
            raise Unavailable("search", f"it took longer than {self._options.timeout_seconds} s") from None

    async def _search(self, request: SearchRequest, owner_id: str) -> SearchResponse:
        clock, warnings = _Clock(self._metrics), list[str]()
        started = time.perf_counter()
        targets = await self._targets.resolve(request, owner_id)
        started = clock.lap("filter", started)
        mode = request.mode
        if mode != "sparse":
            with span("search.embed"):
                mode, targets = await self._embed(request, targets, warnings)
            started = clock.lap("embed", started)
        if mode == "sparse" and request.min_dense_score is not None:
            warnings.append("'min_dense_score' had no effect: this search compared no vectors.")
        depth = max(self._options.candidates, request.limit)
        hits: list[Hit] = []
        for round_number in range(MAX_ROUNDS):
            with span("search.retrieve", depth=depth * 4**round_number):
                found = await self._find(targets, request, mode, depth * 4**round_number)
            started = clock.lap("retrieve", started)
            with span("search.hydrate"):
                hits = await self._hits.read(found, request, mode)
            started = clock.lap("hydrate", started)
            if len(hits) >= request.limit or len(found.fused) < depth * 4**round_number:
                break
        if request.rerank:
            warnings.append("No reranking model is configured; the fused order is kept.")
        return SearchResponse(hits=hits, mode_used=mode, warnings=warnings, timings_ms=clock.total())

    def _check(self, request: SearchRequest) -> None:
        options = self._options
        if len(request.query) > options.max_query_chars:
            raise InvalidInput(
                f"The query has {len(request.query)} characters; at most {options.max_query_chars}"
                " are taken (limits.max_query_chars)."
            )
        if not request.query.strip():
            raise InvalidInput("The query is empty.")
        if request.limit > options.max_limit:
            raise InvalidInput(f"'limit' is {request.limit}; at most {options.max_limit} (limits.max_k).")
        for name in ("created_after", "created_before"):
            _require_utc(name, getattr(request.filters, name, None))

    async def _embed(
        self, request: SearchRequest, targets: Sequence[Target], warnings: list[str]
    ) -> tuple[SearchMode, Sequence[Target]]:
        """The targets with the query's vectors; without a model, words alone must do, unless vectors were demanded."""
        try:
            return request.mode, await self._targets.embed(request.query, targets, warnings)
        except Unavailable as error:
            if request.mode == "dense":
                raise
            warnings.append(f"Searched by words only: {error}")
            return "sparse", targets

    async def _find(self, targets: Sequence[Target], request: SearchRequest, mode: SearchMode, depth: int) -> Found:
        """Both lists of every target, asked at once, and their fusion by rank."""
        store = self._vectors.get()
        searches: list[Coroutine[Any, Any, list[VectorHit]]] = []
        for target in targets:
            table, allowed = target.index.table_name, target.document_ids
            searches.append(
                _or_none(self._metrics.arm("dense", store.search_dense(table, target.vector, depth, allowed)))
                if mode != "sparse" and target.vector is not None
                else _nothing()
            )
            searches.append(
                _or_none(self._metrics.arm("sparse", store.search_text(table, request.query, depth, allowed)))
                if mode != "dense"
                else _nothing()
            )
        results = await asyncio.gather(*searches)
        floor = request.min_dense_score
        dense_lists = [[hit for hit in hits if floor is None or hit.score >= floor] for hits in results[0::2]]
        sparse_lists = results[1::2]
        if floor is not None and mode == "hybrid":
            near = {hit.id for hits in dense_lists for hit in hits}
            sparse_lists = [[hit for hit in hits if hit.id in near] for hits in sparse_lists]
        rankings = [
            (weight, [hit.id for hit in hits])
            for weight, lists in (
                (self._options.dense_weight, dense_lists),
                (self._options.sparse_weight, sparse_lists),
            )
            for hits in lists
        ]
        dense = {hit.id: hit.score for hits in dense_lists for hit in hits}
        sparse = {hit.id: hit.score for hits in sparse_lists for hit in hits}
        return Found(
            fused=fuse(rankings, self._options.rrf_k),
            dense=dense,
            sparse=sparse,
            dense_ranks=ranks_of([[hit.id for hit in hits] for hits in dense_lists]),
            sparse_ranks=ranks_of([[hit.id for hit in hits] for hits in sparse_lists]),
        )


def _require_utc(name: str, time: datetime | None) -> None:
    """The first and last days of the calendar lie outside it in some zones."""
    try:
        if time is not None:
            time.astimezone(UTC)
    except OverflowError as error:
        raise InvalidInput(f"'{name}' is outside the calendar: {error}.") from error


def _milliseconds(since: float) -> float:
    return round((time.perf_counter() - since) * 1000, 2)


async def _or_none(search: Coroutine[Any, Any, list[VectorHit]]) -> list[VectorHit]:
    """A collection without a vector table has nothing in it yet."""
    try:
        return await search
    except NotFound:
        return []


async def _nothing() -> list[VectorHit]:
    return []
