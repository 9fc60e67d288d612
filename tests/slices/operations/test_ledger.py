"""The ledger keeps its promises: one worker at a time, refused stale writes, numbered events, counted attempts."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlmodel.ext.asyncio.session import AsyncSession

from perplex_mono.errors import NotFound, StaleLease
from perplex_mono.operations.events import EventBus
from perplex_mono.operations.ledger import Claim, Ledger, Progress
from perplex_mono.operations.models import Operation
from perplex_mono.operations.service import OperationService
from perplex_mono.storage.database import Database


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def timed(database: Database, bus: EventBus, clock: Clock) -> Ledger:
    return Ledger(database, bus, lease_seconds=30, max_attempts=3, clock=clock)


async def enqueue(database: Database, ledger: Ledger, owner_id: str = "local") -> str:
    async with database.write() as session:
        operation = await ledger.enqueue(
            session, owner_id=owner_id, kind="ingest", collection_id=None, total=3, unit="pages"
        )
    return operation.id


async def claim_one(ledger: Ledger) -> Claim:
    (claim,) = await ledger.claim(5)
    return claim


def reading(database: Database, ledger: Ledger) -> OperationService:
    return OperationService(database, ledger, lambda _: None)


async def types_of(database: Database, ledger: Ledger, operation_id: str) -> list[str]:
    page = await reading(database, ledger).events(operation_id, "local", after=0, limit=100)
    return [event.type for event in page.items]


async def test_the_doorbell_rings_only_after_the_commit(database: Database, ledger: Ledger) -> None:
    rung: list[str] = []
    ledger.on_queued(lambda operation_id, _: rung.append(operation_id))

    async def failing_transaction() -> None:
        async with database.write() as session:
            await ledger.enqueue(session, owner_id="local", kind="ingest", collection_id=None, total=1, unit="pages")
            raise RuntimeError("the transaction fails")

    with pytest.raises(RuntimeError):
        await failing_transaction()
    assert rung == []
    operation_id = await enqueue(database, ledger)
    assert rung == [operation_id]


async def test_an_operation_is_claimed_once(database: Database, ledger: Ledger) -> None:
    operation_id = await enqueue(database, ledger)
    claim = await claim_one(ledger)
    assert claim.operation_id == operation_id
    assert claim.epoch == 1
    assert await ledger.claim(5) == []


async def test_an_expired_lease_goes_to_another_and_the_first_is_refused(
    database: Database, timed: Ledger, clock: Clock
) -> None:
    await enqueue(database, timed)
    first = await claim_one(timed)
    clock.advance(31)
    second = await claim_one(timed)
    assert second.epoch == first.epoch + 1
    with pytest.raises(StaleLease):
        await timed.complete(first)
    await timed.complete(second)


async def test_a_renewed_lease_is_kept(database: Database, timed: Ledger, clock: Clock) -> None:
    await enqueue(database, timed)
    claim = await claim_one(timed)
    clock.advance(20)
    await timed.renew(claim)
    clock.advance(20)
    assert await timed.claim(5) == []


async def test_a_refused_write_leaves_nothing_behind(database: Database, timed: Ledger, clock: Clock) -> None:
    operation_id = await enqueue(database, timed)
    stale = await claim_one(timed)
    clock.advance(31)
    await claim_one(timed)
    with pytest.raises(StaleLease):
        async with timed.fenced(stale) as (session, operation):
            await timed.emit(session, operation, "warning", {})
    assert "warning" not in await types_of(database, timed, operation_id)


async def test_three_attempts_without_a_checkpoint_are_dead(database: Database, timed: Ledger, clock: Clock) -> None:
    operation_id = await enqueue(database, timed)
    for _ in range(3):
        await claim_one(timed)
        clock.advance(31)
    assert await timed.claim(5) == []
    view = await reading(database, timed).get(operation_id, "local")
    assert view.state == "dead"
    assert view.error is not None
    assert "3 times" in view.error.message


async def test_whoever_waits_for_an_operation_is_told_in_its_last_transaction(
    database: Database, ledger: Ledger
) -> None:
    ended: list[tuple[str, str]] = []

    async def settle(_: AsyncSession, operation: Operation) -> None:
        ended.append((operation.id, operation.state))

    ledger.on_stopped(settle)
    operation_id = await enqueue(database, ledger)
    await ledger.fail(await claim_one(ledger), ValueError("never"), permanent=True)
    assert ended == [(operation_id, "failed")]


async def test_a_checkpoint_resets_the_attempts(database: Database, timed: Ledger, clock: Clock) -> None:
    await enqueue(database, timed)
    for _ in range(5):
        claim = await claim_one(timed)
        async with timed.fenced(claim) as (_, operation):
            timed.mark_checkpoint(operation)
        clock.advance(31)
    assert len(await timed.claim(5)) == 1


async def test_a_failed_attempt_is_tried_again_later(database: Database, timed: Ledger, clock: Clock) -> None:
    operation_id = await enqueue(database, timed)
    await timed.fail(await claim_one(timed), RuntimeError("the disk hiccuped"), permanent=False)
    assert await timed.claim(5) == []
    clock.advance(3)
    assert len(await timed.claim(5)) == 1
    assert "retrying" in await types_of(database, timed, operation_id)


async def test_a_clock_that_is_set_back_holds_up_no_retry(database: Database, timed: Ledger, clock: Clock) -> None:
    await enqueue(database, timed)
    await timed.fail(await claim_one(timed), RuntimeError("the disk hiccuped"), permanent=False)
    clock.advance(-3600)
    assert len(await timed.claim(5)) == 1


async def test_a_clock_that_is_set_back_holds_up_no_work_given_back_for_a_while(
    database: Database, timed: Ledger, clock: Clock
) -> None:
    await enqueue(database, timed)
    await timed.release(await claim_one(timed), pause_seconds=2)
    assert await timed.claim(5) == []
    clock.advance(-3600)
    assert len(await timed.claim(5)) == 1


async def test_a_lease_ends_although_the_clock_is_set_back(database: Database, timed: Ledger, clock: Clock) -> None:
    await enqueue(database, timed)
    silent = await claim_one(timed)
    clock.advance(-3600)
    after = await claim_one(timed)
    assert after.epoch == silent.epoch + 1


async def test_who_works_keeps_the_lease_when_the_clock_is_set_back(
    database: Database, timed: Ledger, clock: Clock
) -> None:
    await enqueue(database, timed)
    claim = await claim_one(timed)
    clock.advance(-3600)
    assert await timed.claim(5, [claim]) == []
    await timed.renew(claim)
    clock.advance(29)
    assert await timed.claim(5) == []
    await timed.complete(claim)


async def test_a_permanent_failure_says_why(database: Database, ledger: Ledger) -> None:
    operation_id = await enqueue(database, ledger)
    await ledger.fail(await claim_one(ledger), ValueError("never"), permanent=True)
    view = await reading(database, ledger).get(operation_id, "local")
    assert (view.state, view.error and view.error.message) == ("failed", "never")
    assert await ledger.claim(5) == []


async def test_released_work_is_queued_again_without_counting(database: Database, ledger: Ledger) -> None:
    for_shutdown = await enqueue(database, ledger)
    for _ in range(5):
        await ledger.release(await claim_one(ledger))
    view = await reading(database, ledger).get(for_shutdown, "local")
    assert (view.state, view.attempt) == ("queued", 0)


async def test_a_restart_gives_every_lease_back(database: Database, bus: EventBus, ledger: Ledger) -> None:
    await enqueue(database, ledger)
    before = await claim_one(ledger)
    restarted = Ledger(database, bus, lease_seconds=30, max_attempts=3)
    assert await restarted.requeue_orphans() == 1
    after = await claim_one(restarted)
    assert after.epoch > before.epoch
    with pytest.raises(StaleLease):
        await ledger.complete(before)


async def test_progress_replaces_what_was_said_before(database: Database, ledger: Ledger) -> None:
    operation_id = await enqueue(database, ledger)
    claim = await claim_one(ledger)
    for done in (1, 2, 3):
        await ledger.record_progress(claim, Progress(done, 3, "pages", 1.0, 3.0 - done, {"page": done}))
    events = (await reading(database, ledger).events(operation_id, "local", after=0, limit=100)).items
    progress = [event for event in events if event.type == "progress"]
    assert [event.data["done"] for event in progress] == [3]
    assert (await reading(database, ledger).get(operation_id, "local")).done == 3


async def test_numbers_are_never_given_twice(database: Database, ledger: Ledger) -> None:
    operation_id = await enqueue(database, ledger)
    claim = await claim_one(ledger)
    seen: list[int] = []
    for done in range(5):
        await ledger.record_progress(claim, Progress(done, 5, "pages", None, None, {}))
        newest = (await reading(database, ledger).events(operation_id, "local", after=0, limit=100)).items[-1].seq
        assert isinstance(newest, int)
        seen.append(newest)
    assert seen == sorted(set(seen))


async def test_other_peoples_operations_do_not_exist(database: Database, ledger: Ledger) -> None:
    operation_id = await enqueue(database, ledger, owner_id="alice")
    with pytest.raises(NotFound):
        await reading(database, ledger).get(operation_id, "bob")
    with pytest.raises(NotFound):
        await reading(database, ledger).events(operation_id, "bob", after=0, limit=10)


async def test_listing_pages_newest_first(database: Database, ledger: Ledger) -> None:
    ids = [await enqueue(database, ledger) for _ in range(5)]
    first = await reading(database, ledger).list_operations(
        "local", state=None, kind=None, collection_id=None, limit=3, cursor=None
    )
    rest = await reading(database, ledger).list_operations(
        "local", state=None, kind=None, collection_id=None, limit=3, cursor=first.next_cursor
    )
    assert [item.id for item in (*first.items, *rest.items)] == sorted(ids, reverse=True)
    assert rest.next_cursor is None


async def test_old_events_go_and_the_floor_remembers(database: Database, timed: Ledger, clock: Clock) -> None:
    operation_id = await enqueue(database, timed)
    clock.advance(31 * 86400)
    await timed.prune_events(30)
    assert await types_of(database, timed, operation_id) == []
    async with database.read() as session:
        assert await session.get(Operation, operation_id) is not None
