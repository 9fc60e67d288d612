"""What stands still is told from what waits for others."""

import pytest

from perplex_mono.operations.stalls import StallWatch


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


def test_a_wait_for_others_does_not_count_while_they_get_on(watch: StallWatch, time: ManualTime) -> None:
    watch.begin("waiting")
    watch.begin("working")
    for _ in range(5):
        time.seconds += 9
        watch.mark_moved("working")
        assert not watch.is_stalled("waiting")
    watch.end("working")
    time.seconds += 11
    assert watch.is_stalled("waiting")


def test_that_another_one_starts_is_no_progress(watch: StallWatch, time: ManualTime) -> None:
    watch.begin("hung")
    time.seconds += 11
    watch.begin("new")
    assert watch.is_stalled("hung")
    assert not watch.is_stalled("new")


def test_nobody_waits_for_ever(watch: StallWatch, time: ManualTime) -> None:
    watch.begin("hung")
    watch.begin("working")
    for _ in range(12):
        time.seconds += 9
        watch.mark_moved("working")
    assert watch.is_stalled("hung")
    assert not watch.is_stalled("working")


def test_who_waits_on_purpose_is_not_stalled_and_hides_no_other_stall(watch: StallWatch, time: ManualTime) -> None:
    watch.begin("waiting")
    watch.begin("hung")
    for _ in range(12):
        time.seconds += 9
        watch.mark_waiting("waiting")
        assert not watch.is_stalled("waiting")
    assert watch.is_stalled("hung")
    time.seconds += 11
    assert watch.is_stalled("waiting"), "it says nothing any more"


def test_a_wait_on_purpose_is_no_progress(watch: StallWatch, time: ManualTime) -> None:
    watch.begin("waiting")
    watch.begin("hung")
    time.seconds += 6
    watch.mark_waiting("waiting")
    time.seconds += 5
    assert watch.is_stalled("hung")


def test_the_worst_silence_is_told_as_stalls_judge_it(watch: StallWatch, time: ManualTime) -> None:
    assert watch.silent_seconds() == 0
    watch.begin("a")
    watch.begin("b")
    time.seconds += 7
    assert watch.silent_seconds() == 7
    watch.mark_moved("a")
    time.seconds += 2
    assert watch.silent_seconds() == 2, "b may have waited for a"
    watch.mark_waiting("b")
    assert watch.silent_seconds() == 2, "a got nothing done meanwhile"
    watch.end("a")
    assert watch.silent_seconds() == 0
