"""What stands still is told from what waits for others."""

import pytest

from perplex_mono.operations.stalls import StallWatch
from perplex_mono.telemetry.waiting import at_work, in_line, mark_waiting, waiter
from tests.timed_work import working_at


class ManualTime:
    """Monotonic seconds that a test moves."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def time() -> ManualTime:
    return ManualTime()


@pytest.fixture
def watch(time: ManualTime) -> StallWatch:
    return StallWatch(10, 100, clock=time)


def test_silence_is_a_stall_after_the_limit(watch: StallWatch, time: ManualTime) -> None:
    watch.begin("a")
    time.seconds += 10
    assert not watch.is_stalled("a")
    time.seconds += 1
    assert watch.is_stalled("a")


def test_work_that_gets_done_starts_the_clock_anew(watch: StallWatch, time: ManualTime) -> None:
    watch.begin("a")
    for _ in range(5):
        time.seconds += 9
        assert not watch.is_stalled("a")
        watch.mark_moved("a")


def test_one_that_hangs_is_found_although_others_get_on(watch: StallWatch, time: ManualTime) -> None:
    watch.begin("hung")
    watch.begin("working")
    for _ in range(2):
        time.seconds += 6
        watch.mark_moved("working")
    assert watch.is_stalled("hung")
    assert not watch.is_stalled("working")
    assert watch.silent_seconds() == 12


def test_that_another_one_starts_is_no_progress(watch: StallWatch, time: ManualTime) -> None:
    watch.begin("hung")
    time.seconds += 11
    watch.begin("new")
    assert watch.is_stalled("hung")
    assert not watch.is_stalled("new")


def test_who_stands_in_line_is_not_to_blame_while_others_get_on(watch: StallWatch, time: ManualTime) -> None:
    watch.begin("working")
    with working_at(watch.begin("waiting")):
        with in_line():
            for _ in range(5):
                time.seconds += 9
                assert watch.silent_seconds() == 9
                watch.mark_moved("working")
                assert not watch.is_stalled("waiting")
                assert watch.silent_seconds() == 0
        assert watch.silent_seconds() == 0, "its turn has come, and it begins anew"
        time.seconds += 11
        assert watch.is_stalled("waiting")


def test_who_waits_for_one_that_hangs_is_spared_until_that_one_is_interrupted(
    watch: StallWatch, time: ManualTime
) -> None:
    watch.begin("hung")
    with working_at(watch.begin("waiting")), in_line():
        time.seconds += 11
        assert watch.is_stalled("hung")
        assert not watch.is_stalled("waiting")
        watch.end("hung")
        assert watch.silent_seconds() == 11, "nobody gets anything done, so the wait is told"
        time.seconds += 10
        assert watch.is_stalled("waiting"), "nobody made way"


def test_nobody_stands_in_line_for_ever(watch: StallWatch, time: ManualTime) -> None:
    watch.begin("working")
    with working_at(watch.begin("waiting")), in_line():
        for _ in range(12):
            assert not watch.is_stalled("waiting")
            time.seconds += 9
            watch.mark_moved("working")
        assert watch.is_stalled("waiting")


def test_an_attempt_stands_in_line_only_when_all_of_its_parts_do(watch: StallWatch, time: ManualTime) -> None:
    watch.begin("working")
    with working_at(watch.begin("a")), in_line(), at_work():
        with in_line():
            time.seconds += 9
            watch.mark_moved("working")
        assert watch.silent_seconds() == 0, "its turn has come"
        with at_work(), in_line():
            time.seconds += 11
            watch.mark_moved("working")
            assert watch.is_stalled("a"), "the first part hangs while the second stands in line"
            assert watch.silent_seconds() == 11
        assert watch.silent_seconds() == 11, "that the second one's turn came is no progress of the first"


def test_a_line_that_moves_keeps_who_stands_in_it_from_being_found(watch: StallWatch, time: ManualTime) -> None:
    with working_at(watch.begin("waiting")):
        tell = waiter()
    for _ in range(5):
        time.seconds += 9
        tell()
        assert not watch.is_stalled("waiting")
    watch.begin("working")
    for _ in range(2):
        time.seconds += 6
        watch.mark_moved("working")
    assert watch.is_stalled("waiting"), "the engine hangs, whatever others do elsewhere"


def test_who_waits_on_purpose_is_not_stalled_and_hides_no_other_stall(watch: StallWatch, time: ManualTime) -> None:
    waiting = watch.begin("waiting")
    watch.begin("hung")
    with working_at(waiting):
        for _ in range(2):
            time.seconds += 6
            mark_waiting()
            assert not watch.is_stalled("waiting")
    assert watch.is_stalled("hung")
    time.seconds += 11
    assert watch.is_stalled("waiting"), "it says nothing any more"


def test_a_wait_on_purpose_is_no_progress_for_those_in_line(watch: StallWatch, time: ManualTime) -> None:
    waiting = watch.begin("waiting")
    with working_at(watch.begin("in line")), in_line():
        time.seconds += 6
        waiting.mark_waiting()
        time.seconds += 5
        assert watch.silent_seconds() == 11


def test_an_attempt_that_has_ended_says_nothing_of_the_next_one(watch: StallWatch, time: ManualTime) -> None:
    before = watch.begin("a")
    watch.end("a")
    watch.begin("a")
    time.seconds += 11
    before.mark_waiting()
    assert watch.is_stalled("a")


def test_the_worst_silence_is_told(watch: StallWatch, time: ManualTime) -> None:
    assert watch.silent_seconds() == 0
    watch.begin("a")
    watch.begin("b")
    time.seconds += 7
    assert watch.silent_seconds() == 7
    watch.mark_moved("a")
    time.seconds += 2
    assert watch.silent_seconds() == 9
    watch.end("b")
    assert watch.silent_seconds() == 2
    watch.end("a")
    assert watch.silent_seconds() == 0


def test_waiting_outside_of_operations_concerns_nobody() -> None:
    mark_waiting()
    with in_line(), at_work():
        waiter()()
