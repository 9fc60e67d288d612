"""A supervised task comes back after every kind of end, and its status tells the truth meanwhile."""

import asyncio
from collections.abc import Callable
from itertools import pairwise

from perplex_mono.telemetry.supervision import Supervisor


async def eventually(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - any condition, whoever brings it about
            await asyncio.sleep(0.005)


async def test_a_task_that_fails_is_run_again_and_the_reason_is_kept() -> None:
    runs = 0

    async def run() -> None:
        nonlocal runs
        runs += 1
        if runs < 3:
            raise ValueError("no luck")
        await asyncio.Event().wait()

    supervisor = Supervisor("part", run, min_delay_seconds=0.001, max_delay_seconds=0.01, healthy_after_seconds=60)
    supervisor.start()
    await eventually(lambda: runs == 3)
    status = supervisor.status()
    assert (status.name, status.state, status.reason, status.restarts) == ("part", "degraded", "ValueError: no luck", 2)
    await supervisor.stop(5)


async def test_a_task_that_returns_or_cancels_itself_is_run_again() -> None:
    ends: list[str | None] = []

    async def run() -> None:
        ends.append(supervisor.status().reason)
        if len(ends) == 2:
            raise asyncio.CancelledError
        if len(ends) == 3:
            raise BaseExceptionGroup("group", [ExceptionGroup("inner", [OSError("deep cause")])])
        if len(ends) == 4:
            await asyncio.Event().wait()

    supervisor = Supervisor("part", run, min_delay_seconds=0.001, max_delay_seconds=0.01)
    supervisor.start()
    await eventually(lambda: len(ends) == 4)
    assert ends == [None, "ended by itself", "cancelled", "OSError: deep cause"]
    await supervisor.stop(5)


async def test_after_a_failure_it_is_ok_again_only_when_it_has_lasted() -> None:
    runs = 0

    async def run() -> None:
        nonlocal runs
        runs += 1
        if runs == 1:
            raise ValueError("once")
        await asyncio.Event().wait()

    supervisor = Supervisor("part", run, min_delay_seconds=0.001, healthy_after_seconds=0.2)
    supervisor.start()
    assert supervisor.status().state == "ok"
    await eventually(lambda: runs == 2)
    failed = supervisor.status()
    assert failed.state == "degraded"
    await eventually(lambda: supervisor.status().state == "ok")
    assert supervisor.status().reason is None
    well = supervisor.status()
    assert failed.since is not None
    assert well.since is not None
    assert well.since > failed.since
    await supervisor.stop(5)


async def test_a_task_that_reports_itself_is_believed() -> None:
    step = asyncio.Event()

    async def run() -> None:
        supervisor.mark_degraded("warming up")
        await step.wait()
        supervisor.mark_ok()
        await asyncio.Event().wait()

    supervisor = Supervisor("part", run, healthy_after_seconds=0.01)
    supervisor.start()
    await asyncio.sleep(0.1)
    assert supervisor.status().reason == "warming up"
    step.set()
    await eventually(lambda: supervisor.status().state == "ok")
    await supervisor.stop(5)


async def test_waits_grow_to_their_cap() -> None:
    started: list[float] = []
    clock = asyncio.get_running_loop().time

    async def run() -> None:
        started.append(clock())
        raise ValueError

    supervisor = Supervisor("part", run, min_delay_seconds=0.02, max_delay_seconds=0.08)
    supervisor.start()
    await eventually(lambda: len(started) == 6)
    await supervisor.stop(5)
    gaps = [later - earlier for earlier, later in pairwise(started)]
    assert all(gap >= least for gap, least in zip(gaps, [0.02, 0.04, 0.08, 0.08, 0.08], strict=True))


async def test_stop_cancels_once_and_leaves_nothing_running() -> None:
    cleaned = False

    async def run() -> None:
        nonlocal cleaned
        try:
            await asyncio.Event().wait()
        finally:
            cleaned = True

    supervisor = Supervisor("part", run)
    supervisor.start()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    await supervisor.stop(5)
    await supervisor.stop(5)
    assert cleaned
    assert (supervisor.status().state, supervisor.status().reason) == ("down", "stopped")


async def test_stop_gives_up_on_a_task_that_will_not_end() -> None:
    release = asyncio.Event()

    async def run() -> None:
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue

    supervisor = Supervisor("part", run)
    supervisor.start()
    await asyncio.sleep(0.01)
    async with asyncio.timeout(10):
        await supervisor.stop(0.05)
    assert supervisor.status().state == "down"
    release.set()
    await asyncio.sleep(0.01)
