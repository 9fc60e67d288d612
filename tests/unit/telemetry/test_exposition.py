"""Looking at the figures costs the same however many look, and never waits for what does not answer."""

import asyncio
import threading

import pytest
from prometheus_client import Gauge

from perplex_mono.telemetry.metrics import Metrics
from tests.figures import parse, value


class Counting:
    """Figures that say how often they were counted."""

    def __init__(self, metrics: Metrics) -> None:
        self._gauge = Gauge("counted_times", "How often this was counted", registry=metrics.registry)
        self.times = 0
        self.answers = asyncio.Event()
        self.answers.set()

    async def count(self) -> None:
        self.times += 1
        await self.answers.wait()
        self._gauge.set(self.times)

    def forget(self) -> None:
        self._gauge.set(float("nan"))


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


async def shown(metrics: Metrics, name: str, **labels: str) -> float:
    return value(parse((await metrics.exposition()).decode()), name, **labels)


async def test_everybody_who_looks_meanwhile_shares_one_count(metrics: Metrics) -> None:
    figures = Counting(metrics)
    metrics.count_with("test", figures)
    figures.answers.clear()
    looking = [asyncio.create_task(metrics.exposition()) for _ in range(20)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    figures.answers.set()
    await asyncio.gather(*looking)
    assert figures.times == 1
    assert await shown(metrics, "counted_times") == 2


async def test_one_who_goes_away_takes_nothing_from_the_others(metrics: Metrics) -> None:
    figures = Counting(metrics)
    metrics.count_with("test", figures)
    figures.answers.clear()
    gone, staying = (asyncio.create_task(metrics.exposition()) for _ in range(2))
    await asyncio.sleep(0)
    gone.cancel()
    figures.answers.set()
    assert value(parse((await staying).decode()), "counted_times") == 1


async def test_what_is_dear_is_counted_now_and_then(metrics: Metrics) -> None:
    figures = Counting(metrics)
    metrics.count_with("test", figures, keep_seconds=3600)
    for _ in range(3):
        assert await shown(metrics, "counted_times") == 1


async def test_what_does_not_answer_is_not_waited_for(metrics: Metrics) -> None:
    figures = Counting(metrics)
    metrics.count_with("test", figures, timeout_seconds=0.01)
    figures.answers.clear()
    assert str(await shown(metrics, "counted_times")) == "nan"
    assert await shown(metrics, "metrics_refresh_failures_total", section="test") == 2
    figures.answers.set()
    assert await shown(metrics, "counted_times") == 3


async def test_what_is_dear_and_does_not_answer_is_not_asked_all_the_time(metrics: Metrics) -> None:
    figures = Counting(metrics)
    metrics.count_with("test", figures, timeout_seconds=0.01, keep_seconds=3600)
    figures.answers.clear()
    for _ in range(3):
        assert str(await shown(metrics, "counted_times")) == "nan"
    assert figures.times == 1


async def test_the_text_is_rendered_beside_the_event_loop(metrics: Metrics) -> None:
    threads: list[threading.Thread] = []
    gauge = Gauge("rendered", "Where", registry=metrics.registry)
    gauge.set_function(lambda: threads.append(threading.current_thread()) or 1.0)  # type: ignore[func-returns-value]
    await metrics.exposition()
    assert threads
    assert threading.main_thread() not in threads


async def test_spans_and_records_have_known_labels_only(metrics: Metrics) -> None:
    metrics.count_record("ERROR")
    metrics.count_record("MADE-UP")
    metrics.count_spans("failed", 7)
    assert await shown(metrics, "log_records_total", level="error") == 1
    assert await shown(metrics, "log_records_total", level="other") == 1
    assert await shown(metrics, "trace_spans_total", outcome="failed") == 7
