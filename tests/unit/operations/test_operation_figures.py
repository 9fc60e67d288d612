"""Operations are counted by what their events say became of them."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from perplex_mono.operations.metrics import OperationMetrics
from perplex_mono.operations.models import EventType, Operation
from tests.figures import figure

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)


def operation(**fields: Any) -> Operation:
    """A scan that waited for 20 seconds and took 100."""
    times = {"created_at": BEGAN, "started_at": BEGAN + timedelta(seconds=20)}
    return Operation(owner_id="local", **{"kind": "scan", "epoch": 1, **times, **fields})


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def metrics(registry: CollectorRegistry) -> OperationMetrics:
    return OperationMetrics(registry)


def test_waiting_counts_once_however_often_it_is_started(
    metrics: OperationMetrics, registry: CollectorRegistry
) -> None:
    for epoch in (1, 2, 3):
        metrics.record(operation(epoch=epoch), "started", [{}])
    assert figure(registry, "operations_total", kind="scan", state="running") == 3
    assert figure(registry, "operation_wait_seconds_count", kind="scan") == 1
    assert figure(registry, "operation_wait_seconds_sum", kind="scan") == 20


@pytest.mark.parametrize("state", ["completed", "failed", "dead", "cancelled"])
def test_ends_count_with_the_time_they_took(
    metrics: OperationMetrics, registry: CollectorRegistry, state: EventType
) -> None:
    metrics.record(operation(finished_at=BEGAN + timedelta(seconds=120)), state, [{}])
    assert figure(registry, "operations_total", kind="scan", state=state) == 1
    assert figure(registry, "operation_duration_seconds_sum", kind="scan", state=state) == 100


def test_one_that_never_began_took_no_time(metrics: OperationMetrics, registry: CollectorRegistry) -> None:
    metrics.record(operation(started_at=None, finished_at=BEGAN), "cancelled", [{}])
    assert figure(registry, "operations_total", state="cancelled") == 1
    assert figure(registry, "operation_duration_seconds_count") == 0


def test_stalls_are_told_from_other_retries(metrics: OperationMetrics, registry: CollectorRegistry) -> None:
    metrics.record(operation(error_type="Unavailable"), "retrying", [{}])
    metrics.record(operation(error_type="Stalled"), "retrying", [{}])
    metrics.record(operation(error_type="Stalled"), "dead", [{}])
    assert figure(registry, "operation_retries_total", kind="scan") == 2
    assert figure(registry, "operation_stalls_total", kind="scan") == 2


def test_other_events_and_kinds_make_no_series(metrics: OperationMetrics, registry: CollectorRegistry) -> None:
    metrics.record(operation(), "progress", [{}])
    assert figure(registry, "operations_total") == 0
    for number in range(3):
        metrics.record(operation(kind=f"made-up-{number}"), "queued", [{}])
    assert figure(registry, "operations_total", kind="other", state="queued") == 3
