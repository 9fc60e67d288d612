"""Ingestion stands aside while questions wait, but not for ever."""

import threading

from perplex_mono.inference.priority import QueryPriority


def test_questions_stay_recent_for_a_while() -> None:
    now = [100.0]
    priority = QueryPriority(recent_seconds=2, clock=lambda: now[0])
    assert not priority.recent()

    priority.arrived()
    assert priority.recent()
    priority.left()
    now[0] += 1.9
    assert priority.recent()
    now[0] += 0.2
    assert not priority.recent()


def test_a_pause_lasts_until_the_last_question_is_answered() -> None:
    priority = QueryPriority(recent_seconds=0)
    priority.arrived()
    priority.arrived()
    passed = threading.Event()

    def batch() -> None:
        priority.pause_within(60)()
        passed.set()

    thread = threading.Thread(target=batch)
    thread.start()
    priority.left()
    assert not passed.wait(0.05)
    priority.left()
    assert passed.wait(10)
    thread.join()


def test_a_batch_stands_aside_only_so_long_in_all() -> None:
    priority = QueryPriority(recent_seconds=0)
    priority.arrived()
    pause = priority.pause_within(0.02)

    for _ in range(1000):  # would take 20 s if every call could wait anew
        pause()
