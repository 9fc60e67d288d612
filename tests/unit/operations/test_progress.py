"""The figures shown for long work: counts, and an ETA that holds from the first tenth on."""

import asyncio
from collections.abc import Callable, Iterator
from itertools import pairwise

import pytest

from perplex_mono.errors import StaleLease, StorageFull
from perplex_mono.operations import progress as progress_module
from perplex_mono.operations.ledger import Progress
from perplex_mono.operations.progress import FLUSH_SECONDS, DocumentProgress, ProgressMeter

Burst = tuple[float, int]  # seconds since the start, units done then


class ManualTime:
    """Monotonic seconds that a test moves."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


async def record_nothing(_: Progress) -> None: ...


def meter_of(total: int, time: ManualTime, unopened: int = 0) -> ProgressMeter:
    return ProgressMeter(record_nothing, unit="pages", total=total, unopened=unopened, clock=time)


def steady(total: int, seconds: float) -> Iterator[Burst]:
    return ((number * seconds, 1) for number in range(1, total + 1))


def batches(total: int, size: int, seconds: float) -> Iterator[Burst]:
    return ((number * seconds, size) for number in range(1, total // size + 1))


def late(bursts: Iterator[Burst], seconds: float) -> Iterator[Burst]:
    return ((at + seconds, count) for at, count in bursts)


def side_by_side(total: int, workers: int, seconds: float, spread: float) -> Iterator[Burst]:
    """Waves: `workers` units at once, whose ends are spread over `spread` seconds."""
    for number in range(total):
        wave, worker = divmod(number, workers)
        yield (wave + 1) * seconds + worker * spread / workers, 1


UNIFORM_WORK: dict[str, Callable[[], Iterator[Burst]]] = {
    "one page after the other": lambda: steady(200, 0.5),
    "slow pages of OCR": lambda: steady(50, 12.0),
    "batches of sixteen": lambda: batches(1600, 16, 1.9),
    "large batches, long apart": lambda: batches(4800, 16, 45.0),
    "a batch for each tenth": lambda: batches(160, 16, 8.0),
    "a model that loads first": lambda: late(steady(200, 0.5), 15.0),
    "batches after a wait": lambda: late(batches(800, 16, 8.0), 12.0),
    "a very long wait for a place": lambda: late(steady(5000, 0.1), 90.0),
    "eight side by side": lambda: side_by_side(800, 8, 2.0, 0.1),
    "eight side by side, out of step": lambda: side_by_side(800, 8, 2.0, 1.5),
    "eight slow ones side by side": lambda: side_by_side(400, 8, 20.0, 2.0),
    "hundreds a second": lambda: steady(10_000, 0.005),
}


@pytest.mark.parametrize("name", UNIFORM_WORK)
def test_the_eta_of_uniform_work_holds_from_the_first_tenth_on(name: str) -> None:
    bursts = list(UNIFORM_WORK[name]())
    total, end = sum(count for _, count in bursts), bursts[-1][0]
    time = ManualTime()
    start = time.seconds
    meter = meter_of(total, time)
    upcoming = [*(at for at, _ in bursts[1:]), end]
    for (at, count), following in zip(bursts, upcoming, strict=True):
        time.seconds = start + at
        meter.advance(count, {})
        if not total / 10 <= meter.done <= total * 2 / 3:  # towards the end, the step of a wave is a large part
            continue
        for moment in (at, at + (following - at) / 2, at + (following - at) * 0.99):
            time.seconds = start + moment
            eta = meter.snapshot().eta_seconds
            assert eta == pytest.approx(end - moment, rel=0.2, abs=0.1), f"{meter.done} of {total} at {moment:.1f} s"


def test_the_eta_counts_documents_that_are_not_open_yet_as_those_that_are() -> None:
    """A hundred documents of ten pages, eight at a time, half a second a page: 16 pages a second."""
    time = ManualTime()
    meter = meter_of(100, time, unopened=100)
    waiting = [DocumentProgress(meter, str(number), f"{number}.pdf") for number in range(100)]
    in_work: list[tuple[DocumentProgress, int]] = []
    done = 0
    while done < 900:
        while len(in_work) < 8 and waiting:
            document = waiting.pop()
            document.expect_pages(10)
            in_work.append((document, 0))
        time.seconds += 0.5
        in_work = [(document, pages + 1) for document, pages in in_work]
        for document, pages in in_work:
            document.advance(1, pages)
            done += 1
            if pages == 10:
                document.finish()
        in_work = [(document, pages) for document, pages in in_work if pages < 10]
        if done >= 100:
            assert meter.snapshot().eta_seconds == pytest.approx((1000 - done) / 16, rel=0.2)


def test_work_that_stops_is_said_to_take_longer_and_longer() -> None:
    time = ManualTime()
    meter = meter_of(100, time)
    for _ in range(10):
        time.seconds += 1
        meter.advance(1, {})
    etas, rates = [], []
    for _ in range(4):
        figures = meter.snapshot()
        assert figures.eta_seconds is not None
        assert figures.rate_per_second is not None
        etas.append(figures.eta_seconds)
        rates.append(figures.rate_per_second)
        time.seconds += 20
    assert etas == sorted(etas)
    assert rates == sorted(rates, reverse=True)
    assert etas[-1] > 4 * etas[0]


def test_nothing_is_said_before_anything_moved() -> None:
    time = ManualTime()
    meter = meter_of(10, time)
    time.seconds += 60
    assert (meter.snapshot().rate_per_second, meter.snapshot().eta_seconds) == (None, None)


def test_the_pages_of_an_earlier_attempt_are_no_speed_of_this_one() -> None:
    time = ManualTime()
    meter = ProgressMeter(record_nothing, unit="pages", done=500, total=600, clock=time)
    for _ in range(10):
        time.seconds += 1
        meter.advance(1, {})
    assert meter.snapshot().eta_seconds == pytest.approx(90, rel=0.01)


def test_a_document_counts_as_one_until_its_pages_are_known() -> None:
    meter = meter_of(2, ManualTime(), unopened=2)
    first, second = DocumentProgress(meter, "a", "a.pdf"), DocumentProgress(meter, "b", "b.txt")
    first.expect_pages(10)
    assert meter.total == 11
    first.advance(4, 4)
    second.advance(3, 3)
    assert (meter.done, meter.total) == (7, 13)
    second.expect_attachment()
    assert meter.total == 14
    attachment = DocumentProgress(meter, "c", "c.txt")
    for document in (first, second, attachment):
        document.finish()
    assert (meter.done, meter.total) == (14, 14)


async def test_what_changed_is_recorded_once() -> None:
    recorded: list[Progress] = []

    async def record(progress: Progress) -> None:
        recorded.append(progress)

    meter = ProgressMeter(record, unit="pages", total=3)
    meter.advance(1, {"page": 1})
    await meter.flush()
    await meter.flush()
    assert [progress.done for progress in recorded] == [1]


def test_an_operation_is_heard_of_two_to_ten_times_a_second() -> None:
    assert 0.1 <= FLUSH_SECONDS <= 0.5


async def test_many_reports_of_one_interval_are_one_record() -> None:
    recorded: list[Progress] = []
    is_recorded = asyncio.Event()

    async def record(progress: Progress) -> None:
        recorded.append(progress)
        is_recorded.set()

    meter = ProgressMeter(record, unit="pages", total=1000)
    async with meter.recording():
        for page in range(1, 1001):
            meter.advance(1, {"page": page})
        async with asyncio.timeout(10):
            await is_recorded.wait()
    assert [(progress.done, progress.current) for progress in recorded] == [(1000, {"page": 1000})]


async def test_ceaseless_work_is_recorded_at_most_ten_times_a_second() -> None:
    loop, moments, reports = asyncio.get_running_loop(), list[float](), 0

    async def record(_: Progress) -> None:
        moments.append(loop.time())

    meter = ProgressMeter(record, unit="pages")
    async with meter.recording():
        while len(moments) < 3:
            reports += 1
            meter.advance(1, {})
            await asyncio.sleep(0)
        apart = [later - earlier for earlier, later in pairwise(moments)]
    assert min(apart) >= 0.1, "no timer fires early, however fast or slow the machine is"
    assert reports > len(moments)


async def test_progress_that_cannot_be_written_is_written_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk for a moment must not silence the rest of the attempt, nor end in a task that nobody awaits."""
    monkeypatch.setattr(progress_module, "FLUSH_SECONDS", 0.001)
    failures, recorded = [StorageFull("no room"), StorageFull("no room")], asyncio.Event()

    async def record(_: Progress) -> None:
        if failures:
            raise failures.pop()
        recorded.set()

    meter = ProgressMeter(record, unit="pages", total=3)
    async with meter.recording():
        meter.advance(1, {})
        async with asyncio.timeout(10):
            await recorded.wait()
    assert failures == []


async def test_recording_ends_when_the_work_is_no_longer_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress_module, "FLUSH_SECONDS", 0.001)

    async def record(_: Progress) -> None:
        raise StaleLease("it went to another")

    meter = ProgressMeter(record, unit="pages", total=3)
    meter.advance(1, {})
    others = asyncio.all_tasks()

    async def work() -> None:
        async with meter.recording():
            (background,) = asyncio.all_tasks() - others
            await asyncio.wait([background], timeout=10)
            assert background.done()

    with pytest.raises(StaleLease):  # from the last record, when the block ends
        await work()
