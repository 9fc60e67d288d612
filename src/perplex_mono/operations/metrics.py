"""Long work in figures, counted from the events that the journal emits, after they are durable."""

import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final, get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from sqlmodel import col, func, select

from perplex_mono.operations.models import FINAL_STATES, EventType, Operation, OperationKind
from perplex_mono.storage.database import Database
from perplex_mono.storage.identity import utc_now
from perplex_mono.telemetry.labels import within

LONG_BUCKETS: Final = (0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0, 14_400.0, 86_400.0)
ACTIVE_STATES: Final = ("queued", "running", "paused")
_KINDS: Final = frozenset(get_args(OperationKind))
# The state into which an operation came when it emitted such an event.
_STATE_AFTER: Final[Mapping[EventType, str]] = {
    "queued": "queued",
    "resumed": "queued",
    "retrying": "queued",
    "started": "running",
    "paused": "paused",
    "completed": "completed",
    "failed": "failed",
    "dead": "dead",
    "cancelled": "cancelled",
}


class OperationMetrics:
    """Operations by kind and state, how long they wait and take, and whether they get on."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.running = Gauge("operations_running", "Operations being worked at", registry=registry)
        self.progress_age = Gauge(
            "operation_progress_age_seconds",
            "How long the worst of the running operations got nothing done, waits in line left out; 0 when none runs",
            registry=registry,
        )
        self._states = Counter(
            "operations",
            "How often operations came into a state; queued is new, resumed, or to be tried again",
            ["kind", "state"],
            registry=registry,
        )
        self._seconds = Histogram(
            "operation_duration_seconds",
            "Time from the first start of an operation to its end",
            ["kind", "state"],
            buckets=LONG_BUCKETS,
            registry=registry,
        )
        self._wait = Histogram(
            "operation_wait_seconds",
            "Time from the making of an operation to its first start",
            ["kind"],
            buckets=LONG_BUCKETS,
            registry=registry,
        )
        self._retries = Counter("operation_retries", "Attempts that are made again", ["kind"], registry=registry)
        self._stalls = Counter(
            "operation_stalls", "Attempts interrupted because they got nothing done", ["kind"], registry=registry
        )

    def record(self, operation: Operation, event_type: EventType, items: Sequence[Mapping[str, Any]]) -> None:
        """Count what the journal emitted of an operation."""
        state = _STATE_AFTER.get(event_type)
        if state is None:
            return
        kind = within(operation.kind, _KINDS)
        self._states.labels(kind, state).inc()
        if event_type == "started" and operation.epoch == 1:
            self._wait.labels(kind).observe(_seconds(operation.created_at, operation.started_at or utc_now()))
        elif event_type == "retrying":
            self._retries.labels(kind).inc()
        elif state in FINAL_STATES and operation.started_at and operation.finished_at:
            self._seconds.labels(kind, state).observe(_seconds(operation.started_at, operation.finished_at))
        if event_type in ("retrying", "dead") and operation.error_type == "Stalled":
            self._stalls.labels(kind).inc()


class ActiveOperations:
    """How many operations have not ended, counted in the ledger when somebody looks."""

    def __init__(self, database: Database, registry: CollectorRegistry | None = None) -> None:
        self._database = database
        self._active = Gauge(
            "operations_active", "Operations in the ledger that have not ended", ["state"], registry=registry
        )
        self.forget()

    async def count(self) -> None:
        """By state."""
        query = (
            select(Operation.state, func.count())
            .where(col(Operation.state).in_(ACTIVE_STATES))
            .group_by(col(Operation.state))
        )
        async with self._database.read() as session:
            found: dict[str, int] = dict((await session.exec(query)).all())
        for state in ACTIVE_STATES:
            self._active.labels(state).set(found.get(state, 0))

    def forget(self) -> None:
        """They could not be counted."""
        for state in ACTIVE_STATES:
            self._active.labels(state).set(math.nan)


def _seconds(begin: datetime, end: datetime) -> float:
    return max(0.0, (end - begin).total_seconds())
