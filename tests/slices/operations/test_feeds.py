"""A feed loses nothing and repeats nothing, whenever its reader comes and however slowly it reads."""

import asyncio
from contextlib import aclosing

from perplex_mono.operations.events import EventBus
from perplex_mono.operations.feeds import QUEUE_CAPACITY, FeedService
from perplex_mono.operations.ledger import Ledger
from perplex_mono.operations.models import Operation
from perplex_mono.operations.schemas import Envelope
from perplex_mono.storage.database import Database


async def enqueue(database: Database, ledger: Ledger) -> str:
    async with database.write() as session:
        operation = await ledger.enqueue(
            session, owner_id="local", kind="ingest", collection_id=None, total=1, unit="pages"
        )
    return operation.id


async def emit(database: Database, ledger: Ledger, operation_id: str, count: int) -> None:
    async with database.write() as session:
        operation = await session.get(Operation, operation_id)
        assert operation is not None
        for number in range(count):
            await ledger.emit(session, operation, "page_done", {"number": number})


async def take(
    feeds: FeedService, count: int, operation_id: str | None = None, after: int | None = None
) -> list[Envelope]:
    taken: list[Envelope] = []
    async with asyncio.timeout(20), aclosing(feeds.follow("local", operation_id, after=after)) as events:
        async for event in events:
            taken.append(event)
            if len(taken) == count:
                break
    return taken


async def test_without_a_number_the_feed_begins_with_a_snapshot(
    database: Database, bus: EventBus, ledger: Ledger
) -> None:
    operation_id = await enqueue(database, ledger)
    feeds = FeedService(database, bus)
    async with asyncio.timeout(60), aclosing(feeds.follow("local")) as following:
        snapshot = await anext(following)
        await emit(database, ledger, operation_id, 2)
        first, second = await anext(following), await anext(following)
    assert snapshot.type == "snapshot"
    assert not isinstance(snapshot.seq, int)
    assert [item["id"] for item in snapshot.data["operations"]] == [operation_id]
    assert [first.data["number"], second.data["number"]] == [0, 1]


async def test_replay_then_live_has_every_number_once(database: Database, bus: EventBus, ledger: Ledger) -> None:
    operation_id = await enqueue(database, ledger)
    await emit(database, ledger, operation_id, 700)
    following = asyncio.create_task(take(FeedService(database, bus), 1001, operation_id, after=0))
    for _ in range(6):
        await emit(database, ledger, operation_id, 50)
        await asyncio.sleep(0.01)
    numbers = [event.seq for event in await following]
    assert numbers == list(range(1, 1002))


async def test_a_reconnect_continues_where_the_last_one_ended(
    database: Database, bus: EventBus, ledger: Ledger
) -> None:
    operation_id = await enqueue(database, ledger)
    await emit(database, ledger, operation_id, 20)
    feeds = FeedService(database, bus)
    first = await take(feeds, 8, after=0)
    assert isinstance(first[-1].seq, int)
    rest = await take(feeds, 13, after=first[-1].seq)
    assert [event.seq for event in (*first, *rest)] == list(range(1, 22))


async def test_a_slow_reader_gets_a_gap_and_then_everything(database: Database, bus: EventBus, ledger: Ledger) -> None:
    operation_id = await enqueue(database, ledger)
    await emit(database, ledger, operation_id, 1)
    feeds = FeedService(database, bus)
    seen: list[int] = []
    kinds: list[str] = []
    total = QUEUE_CAPACITY * 2
    async with asyncio.timeout(20), aclosing(feeds.follow("local", after=1)) as events:
        async for event in events:
            if event.type == "gap":
                kinds.append("gap")
                continue
            assert isinstance(event.seq, int)
            seen.append(event.seq)
            if len(seen) == 1:
                await emit(database, ledger, operation_id, total)
            if len(seen) == total + 1:
                break
        else:
            raise AssertionError("the feed ended")
    assert kinds == ["gap"]
    assert seen == list(range(2, total + 3))


async def test_numbers_that_are_no_longer_kept_get_a_gap_unless_the_operation_is_newer(
    database: Database, bus: EventBus, ledger: Ledger
) -> None:
    await enqueue(database, ledger)
    await ledger.prune_events(0)
    young = await enqueue(database, ledger)
    feeds = FeedService(database, bus)
    assert [event.type for event in await take(feeds, 2, after=0)] == ["gap", "snapshot"]
    assert [event.type for event in await take(feeds, 1, young, after=0)] == ["queued"]


async def test_a_feed_of_one_operation_shows_no_other(database: Database, bus: EventBus, ledger: Ledger) -> None:
    mine, other = await enqueue(database, ledger), await enqueue(database, ledger)
    await emit(database, ledger, other, 3)
    await emit(database, ledger, mine, 3)
    events = await take(FeedService(database, bus), 4, mine, after=0)
    assert {event.operation_id for event in events} == {mine}
