"""Places for documents: handed over at once, kept by nobody who left, and fair however documents come and go."""

import asyncio
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perplex_mono.ingestion.places import MAX_OVERTAKES, URGENT_EXTRA, DocumentPlaces, Place
from perplex_mono.operations.ledger import Claim


def claim(owner_id: str = "local", priority: int = 0) -> Claim:
    return Claim("operation", owner_id, "ingest", None, {}, 1, priority)


async def settle() -> None:
    """Let every task that can go on do so."""
    for _ in range(5):
        await asyncio.sleep(0)


class Queue:
    """Documents that ask for a place; `order` says who got one."""

    def __init__(self, places: DocumentPlaces) -> None:
        self.places = places
        self.order: list[str] = []
        self.held: dict[str, Place] = {}
        self.tasks: dict[str, asyncio.Task[None]] = {}

    async def come(self, name: str, owner_id: str = "local", *, priority: int = 0, is_large: bool = False) -> None:
        async def ask() -> None:
            self.held[name] = await self.places.take(claim(owner_id, priority), is_large=is_large)
            self.order.append(name)

        self.tasks[name] = asyncio.create_task(ask())
        await settle()

    async def leave(self, name: str) -> None:
        self.held.pop(name).leave()
        await settle()


@pytest.fixture
async def queue() -> Queue:
    return Queue(DocumentPlaces(2))


async def test_a_place_that_is_left_goes_to_the_one_who_waited_longest(queue: Queue) -> None:
    for name in "abcd":
        await queue.come(name)
    assert queue.order == ["a", "b"]
    await queue.leave("b")
    await queue.leave("a")
    assert queue.order == ["a", "b", "c", "d"]


async def test_a_single_upload_begins_although_a_scan_holds_every_place(queue: Queue) -> None:
    for name in "abcd":
        await queue.come(name)
    await queue.come("single", priority=1)
    assert queue.order == ["a", "b", "single"]


async def test_a_single_upload_goes_before_a_scan(queue: Queue) -> None:
    for name in "abcd":
        await queue.come(name)
    for number in range(URGENT_EXTRA + 1):
        await queue.come(f"single {number}", priority=1)
    await queue.leave("a")
    assert queue.order[-1] == f"single {URGENT_EXTRA}"


async def test_the_owner_with_the_fewest_documents_in_work_is_next(queue: Queue) -> None:
    for name in "abcd":
        await queue.come(name, "flood")
    await queue.come("mine", "other")
    await queue.leave("a")
    assert queue.order[-1] == "mine"
    await queue.come("mine too", "other")
    await queue.leave("b")
    assert queue.order[-1] == "c", "each has one in work now, and the flood waited longer"


async def test_large_documents_leave_half_of_the_places_to_small_ones() -> None:
    queue = Queue(DocumentPlaces(4))
    for name in "abc":
        await queue.come(name, is_large=True)
    for name in "xyz":
        await queue.come(name)
    assert queue.order == ["a", "b", "x", "y"]
    await queue.leave("x")
    assert queue.order[-1] == "z", "a small one's place is not for a third large one"
    await queue.leave("a")
    assert queue.order[-1] == "c"


async def test_one_place_takes_large_documents_too() -> None:
    queue = Queue(DocumentPlaces(1))
    await queue.come("large", is_large=True)
    assert queue.order == ["large"]


async def test_leaving_twice_frees_one_place(queue: Queue) -> None:
    for name in "abcd":
        await queue.come(name)
    place = queue.held["a"]
    place.leave()
    place.leave()
    await settle()
    assert queue.order == ["a", "b", "c"]


async def test_who_stops_waiting_is_passed_over(queue: Queue) -> None:
    for name in "abcd":
        await queue.come(name)
    queue.tasks["c"].cancel()
    await settle()
    await queue.leave("a")
    assert queue.order == ["a", "b", "d"]


async def test_a_place_given_to_one_who_is_cancelled_at_that_moment_goes_on(queue: Queue) -> None:
    for name in "abcd":
        await queue.come(name)
    queue.held["a"].leave()  # `c` has the place now, and has not run yet
    queue.tasks["c"].cancel()
    await settle()
    assert queue.order == ["a", "b", "d"]


async def test_a_scan_is_overtaken_only_so_often(queue: Queue) -> None:
    for number in range(2 + URGENT_EXTRA):
        await queue.come(f"first {number}", priority=1)
    await queue.come("scan")
    for number in range(3 * MAX_OVERTAKES):
        await queue.come(f"single {number}", priority=1)
        await queue.leave(next(iter(queue.held)))
    overtook = [name for name in queue.order[: queue.order.index("scan")] if name.startswith("single")]
    assert MAX_OVERTAKES <= len(overtook) <= MAX_OVERTAKES + URGENT_EXTRA


documents = st.tuples(st.sampled_from("abc"), st.sampled_from((0, 0, 1)), st.booleans())
steps = st.lists(st.one_of(documents, st.integers(0, 9), st.just("cancel")), max_size=60)


@given(count=st.integers(1, 6), steps=steps)
def test_every_document_gets_a_place_and_none_is_left_free_or_taken_twice(
    count: int, steps: list[tuple[str, int, bool] | int | str]
) -> None:
    """Documents come, leave and are cancelled in any order; then everyone in work leaves, until all were served."""

    async def run() -> None:
        queue = Queue(DocumentPlaces(count))
        large: set[str] = set()
        urgent: set[str] = set()
        cancelled: set[str] = set()

        def check() -> None:
            waiting = [name for name in queue.tasks if name not in queue.order and name not in cancelled]
            held_large = sum(name in large for name in queue.held)
            assert len(queue.held) <= count + URGENT_EXTRA
            assert held_large <= max(1, count // 2) + URGENT_EXTRA
            if len(queue.held) < count:
                assert all(name in large for name in waiting), "a small document waits beside a free place"
                assert not waiting or held_large >= max(1, count // 2)
            if len(queue.held) < count + URGENT_EXTRA and len(queue.order) < MAX_OVERTAKES:
                assert not (set(waiting) & urgent) - large, "a single upload waits although a place is kept for it"

        for number, step in enumerate(steps):
            if isinstance(step, tuple):
                owner, priority, is_large = step
                if is_large:
                    large.add(str(number))
                if priority:
                    urgent.add(str(number))
                await queue.come(str(number), owner, priority=priority, is_large=is_large)
            elif isinstance(step, int) and queue.held:
                await queue.leave(list(queue.held)[step % len(queue.held)])
            elif step == "cancel":
                for name in [name for name in queue.tasks if name not in queue.order and name not in cancelled][:1]:
                    queue.tasks[name].cancel()
                    cancelled.add(name)
                    await settle()
            check()
        while queue.held:
            await queue.leave(next(iter(queue.held)))
            check()
        assert set(queue.order) == set(queue.tasks) - cancelled
        assert max(Counter(queue.order).values(), default=1) == 1

    asyncio.run(run())


async def test_whoever_leaves_is_not_harmed_by_one_that_just_gave_up() -> None:
    places = DocumentPlaces(1)
    mine = await places.take(claim(), is_large=False)
    waiting = asyncio.create_task(places.take(claim("other"), is_large=False))
    await settle()
    waiting.cancel()  # and before it runs again, the place becomes free
    mine.leave()
    await asyncio.gather(waiting, return_exceptions=True)
    assert waiting.cancelled()
    async with asyncio.timeout(1):
        (await places.take(claim(), is_large=False)).leave()
