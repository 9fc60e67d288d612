"""The dispatcher starts what may start, interrupts what stands still, and tries again only what may pass."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager

import pytest

from perplex_mono.errors import ConfigurationError, NotFound, Unavailable
from perplex_mono.operations.dispatcher import Dispatcher
from perplex_mono.operations.ledger import Claim, Ledger
from perplex_mono.operations.schemas import OperationView
from perplex_mono.operations.service import OperationService
from perplex_mono.operations.stalls import StallWatch
from perplex_mono.operations.turns import LANE_SLOTS, OWNER_SLOTS
from perplex_mono.storage.database import Database

FINAL = ("completed", "failed", "dead", "cancelled")


class Handler:
    """Does what the test says, and remembers whom it was called for."""

    def __init__(self, work: Callable[[Claim], Awaitable[None]]) -> None:
        self._work = work
        self.claims: list[Claim] = []

    async def run(self, claim: Claim) -> None:
        self.claims.append(claim)
        await self._work(claim)


@asynccontextmanager
async def dispatching(ledger: Ledger, work: Handler, stalls: StallWatch | None = None) -> AsyncIterator[Dispatcher]:
    """A dispatcher that looks for stalls, and renews leases, often where the test is about that."""
    handlers: Mapping[str, Handler] = {"ingest": work}
    lease_seconds = 30 if stalls is None else 0.06
    stalls = stalls or StallWatch(1800, 86400)
    dispatcher = Dispatcher(ledger, handlers, stalls, poll_seconds=0.01, lease_seconds=lease_seconds)
    running = asyncio.create_task(dispatcher.run())
    try:
        yield dispatcher
    finally:
        await dispatcher.stop(10)
        running.cancel()
        await asyncio.wait({running})


async def enqueue(database: Database, ledger: Ledger, owner_id: str = "local", priority: int = 0) -> str:
    async with database.write() as session:
        operation = await ledger.enqueue(
            session, owner_id=owner_id, kind="ingest", collection_id=None, total=1, unit="pages", priority=priority
        )
    return operation.id


async def seen(
    operations: OperationService, operation_id: str, condition: Callable[[OperationView], bool]
) -> OperationView:
    async with asyncio.timeout(30):
        while True:
            view = await operations.get(operation_id, "local")
            if condition(view):
                return view
            await asyncio.sleep(0.01)


def is_final(view: OperationView) -> bool:
    return view.state in FINAL


@pytest.mark.parametrize("error", [NotFound("index", "gone"), ConfigurationError("a wrong model")])
async def test_what_cannot_pass_ends_at_once(
    database: Database, ledger: Ledger, operations: OperationService, error: Exception
) -> None:
    async def work(_: Claim) -> None:
        raise error

    handler = Handler(work)
    operation_id = await enqueue(database, ledger)
    async with dispatching(ledger, handler):
        view = await seen(operations, operation_id, is_final)
    assert (view.state, view.error and view.error.message) == ("failed", str(error))
    assert len(handler.claims) == 1


@pytest.mark.parametrize("error", [Unavailable("index", "opening"), RuntimeError("a driver's words")])
async def test_what_may_pass_waits_for_its_pause(
    database: Database, ledger: Ledger, operations: OperationService, error: Exception
) -> None:
    async def work(_: Claim) -> None:
        raise error

    operation_id = await enqueue(database, ledger)
    async with dispatching(ledger, Handler(work)):
        await seen(operations, operation_id, lambda view: view.error is not None)
        events = (await operations.events(operation_id, "local", after=0, limit=100)).items
    (retrying,) = [event for event in events if event.type == "retrying"]
    assert 1.0 <= retrying.data["in_seconds"] <= 2.0
    assert (await operations.get(operation_id, "local")).state == "queued"


class ManualTime:
    """Monotonic seconds that a test moves."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


async def test_an_attempt_that_hangs_is_interrupted_and_says_so(
    database: Database, ledger: Ledger, operations: OperationService
) -> None:
    time, started, was_cancelled = ManualTime(), asyncio.Event(), asyncio.Event()

    async def hang(_: Claim) -> None:
        started.set()
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            was_cancelled.set()

    operation_id = await enqueue(database, ledger)
    async with dispatching(ledger, Handler(hang), StallWatch(1800, 86400, clock=time)):
        async with asyncio.timeout(10):
            await started.wait()
        time.seconds += 1801
        async with asyncio.timeout(10):
            await was_cancelled.wait()
        view = await seen(operations, operation_id, lambda view: view.error is not None)
    assert view.error is not None
    assert view.error.type == "Stalled"
    assert "1800 seconds (limits.operation_stall_seconds)" in view.error.message
    assert view.attempt == 1, "a stalled attempt counts, as a crashed one does"


async def test_an_attempt_that_gets_things_done_is_left_alone(
    database: Database, ledger: Ledger, operations: OperationService
) -> None:
    time = ManualTime()

    async def work(claim: Claim) -> None:
        for _ in range(6):
            time.seconds += 1000
            async with ledger.fenced(claim):
                pass
            await asyncio.sleep(0.03)
        await ledger.complete(claim)

    operation_id = await enqueue(database, ledger)
    handler = Handler(work)
    async with dispatching(ledger, handler, StallWatch(1800, 86400, clock=time)):
        assert (await seen(operations, operation_id, is_final)).state == "completed"
    assert len(handler.claims) == 1


async def test_keeping_the_lease_is_no_work(database: Database, ledger: Ledger) -> None:
    moved: list[str] = []
    ledger.on_moved(moved.append)
    await enqueue(database, ledger)
    (claim,) = await ledger.claim()
    await ledger.renew(claim)
    assert moved == []
    async with ledger.fenced(claim):
        pass
    assert moved == [claim.operation_id]


async def test_a_flood_of_one_owner_keeps_neither_others_nor_a_single_upload_out(
    database: Database, ledger: Ledger
) -> None:
    started = asyncio.Semaphore(0)

    async def hold(_: Claim) -> None:
        started.release()
        await asyncio.get_running_loop().create_future()

    async def next_starts(count: int = 1) -> None:
        async with asyncio.timeout(10):
            for _ in range(count):
                await started.acquire()

    handler = Handler(hold)

    for _ in range(LANE_SLOTS + 5):
        await enqueue(database, ledger, "flood")
    async with dispatching(ledger, handler) as dispatcher:
        await next_starts(OWNER_SLOTS)
        other = await enqueue(database, ledger, "other")
        await next_starts()
        assert handler.claims[-1].operation_id == other
        single = await enqueue(database, ledger, "flood", priority=1)
        await next_starts()
        assert handler.claims[-1].operation_id == single
        assert dispatcher.running_count == OWNER_SLOTS + 2
