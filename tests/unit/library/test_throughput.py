"""How long waiting work will take is learned from what became ready, whatever was worked at together."""

import pytest

from perplex_mono.library.throughput import MIN_BYTES, Throughput

TEXT, PDF = "text/plain", "application/pdf"
MB = 1024 * 1024


class ManualTime:
    """Monotonic seconds that a test moves."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def time() -> ManualTime:
    return ManualTime()


@pytest.fixture
def throughput(time: ManualTime) -> Throughput:
    return Throughput(time)


def test_nothing_is_known_before_a_document_became_ready(throughput: Throughput) -> None:
    assert throughput.seconds_for({TEXT: MB}) is None
    assert throughput.seconds_for({}) is None


def test_each_type_has_its_own_pace(throughput: Throughput, time: ManualTime) -> None:
    with throughput.working(TEXT, MB):
        time.seconds += 1
    with throughput.working(PDF, MB):
        time.seconds += 30
    assert throughput.seconds_for({TEXT: 10 * MB}) == pytest.approx(10)
    assert throughput.seconds_for({PDF: 10 * MB}) == pytest.approx(300)
    assert throughput.seconds_for({TEXT: MB, PDF: MB}) == pytest.approx(31)
    assert throughput.seconds_for({}) == 0.0


def test_a_type_never_seen_counts_as_the_average(throughput: Throughput, time: ManualTime) -> None:
    with throughput.working(TEXT, MB):
        time.seconds += 1
    with throughput.working(PDF, 3 * MB):
        time.seconds += 11
    assert throughput.seconds_for({"image/png": MB}) == pytest.approx(3, rel=0.05)


def test_documents_worked_at_together_share_the_time(throughput: Throughput, time: ManualTime) -> None:
    """Eight at a time, each open for eight seconds: one a second, not one in eight."""
    blocks = []
    for _ in range(8):
        block = throughput.working(PDF, MB)
        block.__enter__()
        blocks.append(block)
    for _ in range(40):
        time.seconds += 1
        blocks.pop(0).__exit__(None, None, None)
        blocks.append(throughput.working(PDF, MB))
        blocks[-1].__enter__()
    assert throughput.seconds_for({PDF: 100 * MB}) == pytest.approx(100, rel=0.15)


def test_idle_time_is_no_work(throughput: Throughput, time: ManualTime) -> None:
    for _ in range(3):
        time.seconds += 3600
        with throughput.working(TEXT, MB):
            time.seconds += 2
    assert throughput.seconds_for({TEXT: MB}) == pytest.approx(2)


def test_tiny_documents_do_not_make_large_ones_look_endless(throughput: Throughput, time: ManualTime) -> None:
    for _ in range(10):
        with throughput.working(TEXT, 100):
            time.seconds += 0.05
    assert throughput.seconds_for({TEXT: MIN_BYTES}) == pytest.approx(0.05)
    assert throughput.seconds_for({TEXT: 512 * MB}) == pytest.approx(0.05 * 512 * MB / MIN_BYTES)


def test_a_document_that_did_not_become_ready_tells_nothing(throughput: Throughput, time: ManualTime) -> None:
    with throughput.working(TEXT, MB):
        time.seconds += 1
    with pytest.raises(RuntimeError), throughput.working(TEXT, 500 * MB):
        raise RuntimeError("corrupt")
    assert throughput.seconds_for({TEXT: MB}) == pytest.approx(1)


def test_a_change_of_pace_is_learned_within_a_hundred_documents(throughput: Throughput, time: ManualTime) -> None:
    for seconds in [1.0] * 100 + [5.0] * 100:
        with throughput.working(PDF, MB):
            time.seconds += seconds
    assert throughput.seconds_for({PDF: MB}) == pytest.approx(5, rel=0.15)
