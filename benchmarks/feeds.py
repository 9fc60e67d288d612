"""A client that loses its connection a thousand times during an ingest, and whether it still saw every number once."""

import asyncio
import itertools
import random
from collections import Counter
from dataclasses import dataclass, field

import msgspec
from websockets.asyncio.client import connect

from benchmarks.product import Product, running_product
from benchmarks.rows import Row, run_as_command
from benchmarks.source_files import mixed_documents

DROPS = 1000
DOCUMENTS = 20
PAGES = 2
MOST_MESSAGES = 12
SILENCE_SECONDS = 60.0


@dataclass
class _Seen:
    """What the client has read: its numbers in the order they came, the last of them, and how often it fell out."""

    last: int
    numbers: list[int] = field(default_factory=list)
    drops: int = 0
    gaps: int = 0


def run(limit: int | None = None) -> list[Row]:
    """Drop `limit` connections of the feed of all operations, each after a few messages or none."""
    with running_product() as product:
        return asyncio.run(_measure(product, limit or DROPS))


async def _measure(product: Product, drops: int) -> list[Row]:
    seen = _Seen(last=0)
    reading = asyncio.create_task(_read(product, seen))
    operations: list[str] = []
    for seed in itertools.count():
        if seen.drops >= drops:
            break
        operations += await asyncio.to_thread(product.upload, mixed_documents(DOCUMENTS, PAGES, seed=seed))
        await asyncio.to_thread(product.wait, operations[-1:], 600.0)
    await asyncio.to_thread(product.wait, operations, 600.0)
    expected = await asyncio.to_thread(_stored, product, operations)
    async with asyncio.timeout(SILENCE_SECONDS):
        while seen.last < max(expected):  # noqa: ASYNC110  # the reader stops for nobody
            await asyncio.sleep(0.05)
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    lost = len(expected - set(seen.numbers))
    repeated = sum(count - 1 for count in Counter(seen.numbers).values())
    disordered = sum(later < earlier for earlier, later in itertools.pairwise(seen.numbers))
    note = f"{seen.drops} connections dropped, {len(seen.numbers)} events read, {seen.gaps} gaps"
    return [
        Row("feed numbers lost", lost, "events", None, None, "0", lost == 0, note),
        Row("feed numbers repeated", repeated + disordered, "events", None, None, "0", repeated + disordered == 0, ""),
    ]


async def _read(product: Product, seen: _Seen) -> None:
    """Follow from the last number read, and fall out again without a word."""
    chance = random.Random(1)  # not for secrets
    address = "ws" + product.server.url.removeprefix("http")
    while True:
        async with connect(f"{address}/ws/operations?after={seen.last}", proxy=None, close_timeout=1) as socket:
            for _ in range(chance.randrange(MOST_MESSAGES)):
                async with asyncio.timeout(SILENCE_SECONDS):
                    message = msgspec.json.decode(await socket.recv())
                if "seq" in message:
                    seen.numbers.append(message["seq"])
                    seen.last = message["seq"]
                seen.gaps += message["type"] == "gap"
            socket.transport.abort()
        seen.drops += 1


def _stored(product: Product, operations: list[str]) -> set[int]:
    """Every number the ledger keeps of these operations; progress that newer progress replaced is not among them."""
    numbers: set[int] = set()
    for operation in operations:
        after = 0
        while items := product.get(f"/api/v1/operations/{operation}/events", after=after)["items"]:
            numbers |= {item["seq"] for item in items}
            after = items[-1]["seq"]
    return numbers


if __name__ == "__main__":
    run_as_command(run, __doc__, "connections to drop")
