"""Ingestion stands aside while questions wait, but not for ever."""

import asyncio
import threading
from contextlib import suppress

from perplex_mono.inference.priority import QueryPriority


def test_questions_stay_recent_for_a_while() -> None:
    now = [100.0]
    priority = QueryPriority(recent_seconds=2, clock=lambda: now[0])
    assert not priority.recent()

    with priority.question():
        now[0] += 60
        assert priority.recent()
    now[0] += 1.9
    assert priority.recent()
    now[0] += 0.2
    assert not priority.recent()


def test_a_pause_lasts_until_the_last_question_is_answered() -> None:
    priority = QueryPriority(recent_seconds=0, max_pause_seconds=60)
    passed = threading.Event()

    def batch() -> None:
        priority.new_pause()()
        passed.set()

    with priority.question():
        with priority.question():
            thread = threading.Thread(target=batch)
            thread.start()
        assert not passed.wait(0.05)
    assert passed.wait(10)
    thread.join()


async def test_a_step_on_the_event_loop_waits_until_the_last_question_is_answered() -> None:
    priority = QueryPriority(recent_seconds=0, max_pause_seconds=60)
    with priority.question():
        step = asyncio.create_task(priority.stand_aside())
        await asyncio.sleep(0.05)
        assert not step.done()
    async with asyncio.timeout(10):
        await step


async def test_a_question_that_fails_holds_up_nothing() -> None:
    priority = QueryPriority(recent_seconds=0, max_pause_seconds=60)
    with suppress(ValueError), priority.question():
        raise ValueError
    priority.new_pause()()
    await priority.stand_aside()


async def test_a_step_stands_aside_only_so_long_in_all() -> None:
    priority = QueryPriority(recent_seconds=0, max_pause_seconds=0.02)
    with priority.question():
        pause = priority.new_pause()
        for _ in range(1000):  # would take 20 s if every call could wait anew
            pause()
        await priority.stand_aside()
