"""Whoever waits is counted as waiting for exactly that long, however the wait ends."""

import asyncio

import pytest

from perplex_mono.telemetry.waiting import at_work, in_line, in_turn
from tests.timed_work import NotedWork, working_at


async def test_a_turn_is_waited_for_in_line_and_taken_at_work() -> None:
    lock, work = asyncio.Lock(), NotedWork()
    await lock.acquire()

    async def take() -> int:
        async with in_turn(lock):
            return work.working

    with working_at(work):
        taking = asyncio.create_task(take())
    await asyncio.sleep(0)
    assert work.working == 0
    lock.release()
    assert await taking == 1
    assert not lock.locked()


async def test_a_cancelled_wait_is_over_and_takes_no_turn() -> None:
    lock, work = asyncio.Lock(), NotedWork()
    await lock.acquire()

    async def take() -> None:
        async with in_turn(lock):
            raise AssertionError("it was not its turn")

    with working_at(work):
        taking = asyncio.create_task(take())
    await asyncio.sleep(0)
    taking.cancel()
    await asyncio.wait({taking})
    assert taking.cancelled()
    assert work.working == 1
    lock.release()
    assert not lock.locked()


def test_parts_end_as_they_began_though_they_fail() -> None:
    work = NotedWork()

    def fail() -> None:
        with in_line(), at_work(), at_work():
            assert work.working == 2
            raise ValueError("damaged")

    with working_at(work), pytest.raises(ValueError, match="damaged"):
        fail()
    assert work.working == 1
