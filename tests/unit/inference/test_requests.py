"""Room in the queue is given in turn, and given back whatever happens to the one who waited."""

import asyncio

from perplex_mono.inference.requests import TextSlots


async def test_callers_wait_in_turn_for_room() -> None:
    slots = TextSlots(10)
    done: list[str] = []

    async def take(name: str, count: int) -> None:
        await slots.acquire(count)
        done.append(name)

    await take("first", 8)
    waiting = [asyncio.create_task(take("big", 6)), asyncio.create_task(take("small", 1))]
    await asyncio.sleep(0.01)
    assert done == ["first"]

    slots.release(8)
    await asyncio.gather(*waiting)
    assert done == ["first", "big", "small"]
    assert slots.used == 7


async def test_a_cancelled_wait_gives_its_place_to_the_next() -> None:
    slots = TextSlots(10)
    await slots.acquire(8)
    first = asyncio.create_task(slots.acquire(6))
    second = asyncio.create_task(slots.acquire(2))
    await asyncio.sleep(0.01)
    first.cancel()

    assert await second == 2
    assert slots.used == 10


async def test_cancelled_just_after_its_turn_came_keeps_nothing() -> None:
    slots = TextSlots(10)
    await slots.acquire(10)
    waiting = asyncio.create_task(slots.acquire(5))
    await asyncio.sleep(0.01)
    slots.release(10)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)

    assert slots.used == 0


async def test_more_than_the_limit_takes_the_whole_limit() -> None:
    slots = TextSlots(10)

    assert await slots.acquire(50) == 10
