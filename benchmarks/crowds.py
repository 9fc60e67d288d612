"""Many clients of a server at once, as few tools have them: hurried ones, slow ones, and ones that want a feed.

They speak HTTP/1.1 over bare sockets, because a client library on the same two cores would be measured instead.
"""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

import numpy as np
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from benchmarks.product import Product

REQUESTS_EACH = 20
SLOW_SECONDS = 20.0
SOCKETS_AT_ONCE = 200
TIMEOUT_SECONDS = 10.0

HEALTH = "GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
LIST = (
    "GET /api/v1/collections/default/documents?limit=50 HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\n\r\n"
)
BEGUN = (
    "POST /api/v1/search HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\n"
    "Content-Type: application/json\r\nContent-Length: 5000\r\n\r\n"
)


class Answers:
    """Seconds of the good answers, and how the others ended."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.errors: Counter[str] = Counter()

    @property
    def p95_ms(self) -> float:
        """Of the good answers, in milliseconds."""
        return float(np.percentile(self.seconds, 95)) * 1000 if self.seconds else float("inf")

    @property
    def error_fraction(self) -> float:
        """The share of the others."""
        errors = self.errors.total()
        return errors / max(1, errors + len(self.seconds))


async def crowd(product: Product, requests: Sequence[str]) -> Answers:
    """A client for each request, asking again as soon as it was answered, on a connection of its own."""
    answers = Answers()

    async def client(request: str) -> None:
        with _noted(answers):
            reader, writer = await asyncio.open_connection("127.0.0.1", product.server.port)
            for _ in range(REQUESTS_EACH):
                await _ask(reader, writer, request, answers)
            writer.close()

    await asyncio.gather(*(client(request) for request in requests))
    return answers


async def beside_slow_ones(product: Product, tokens: Sequence[str], count: int) -> tuple[Answers, float]:
    """Ask for health while others send a byte of a body or of a header now and then; and which share was connected."""
    answers, drips = Answers(), _Drips(product)
    slow = [
        asyncio.create_task(drips.drip(tokens[number % len(tokens)], headers_only=number % 2 == 0))
        for number in range(count)
    ]
    await asyncio.sleep(2.0)
    held = []
    until = time.monotonic() + SLOW_SECONDS
    while time.monotonic() < until:
        held.append(drips.connected / count)
        with _noted(answers):
            reader, writer = await asyncio.open_connection("127.0.0.1", product.server.port)
            await _ask(reader, writer, HEALTH, answers)
            writer.close()
        await asyncio.sleep(0.05)
    drips.stop.set()
    await asyncio.gather(*slow)
    return answers, float(np.median(held))


class _Drips:
    """Clients that never come to an end; when the server hangs up they come back."""

    def __init__(self, product: Product) -> None:
        self.stop = asyncio.Event()
        self.connected = 0
        self._port = product.server.port

    async def drip(self, token: str, *, headers_only: bool) -> None:
        """One of them, until `stop`."""
        begun = BEGUN.format(token)
        while not self.stop.is_set():
            with suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", self._port)
                self.connected += 1
                try:
                    writer.write((begun[:30] if headers_only else begun).encode())
                    for _ in range(10):
                        await asyncio.sleep(0.5)
                        writer.write(b"x")
                        await writer.drain()
                        if self.stop.is_set():
                            break
                finally:
                    self.connected -= 1
                    writer.close()


async def open_sockets(product: Product, tokens: Sequence[str], attempts: int) -> Counter[str]:
    """How attempts to open a feed ended: every other one is by one user, the rest by all in turn."""
    outcomes: Counter[str] = Counter()
    places = asyncio.Semaphore(SOCKETS_AT_ONCE)

    async def attempt(token: str) -> None:
        async with places:
            outcomes[await open_socket(product, token)] += 1

    whose = (tokens[0] if number % 2 else tokens[number // 2 % len(tokens)] for number in range(attempts))
    await asyncio.gather(*(attempt(token) for token in whose))
    return outcomes


async def open_socket(product: Product, token: str) -> str:
    """Open a feed and wait for its first word: `opened`, the code it was closed with, or the error's name."""
    address = f"ws://127.0.0.1:{product.server.port}/ws/operations"
    headers = {"Authorization": f"Bearer {token}"}
    try:
        async with (
            asyncio.timeout(TIMEOUT_SECONDS),
            connect(address, additional_headers=headers, proxy=None, close_timeout=1) as socket,
        ):
            with suppress(WebSocketException):
                await socket.recv()
                return "opened"
            return str(socket.close_code)
    except (OSError, TimeoutError, WebSocketException) as error:
        return type(error).__name__


async def _ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: str, answers: Answers) -> None:
    started = time.perf_counter()
    async with asyncio.timeout(TIMEOUT_SECONDS):
        writer.write(request.encode())
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        length = next(line for line in head.lower().splitlines() if line.startswith("content-length:"))
        body = await reader.readexactly(int(length.partition(":")[2]))
    status = head.split(" ", 2)[1]
    if status == "200" and json.loads(body):
        answers.seconds.append(time.perf_counter() - started)
    else:
        answers.errors[status] += 1


@contextmanager
def _noted(answers: Answers) -> Iterator[None]:
    """Counts how a client's connection ended, if badly."""
    try:
        yield
    except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
        answers.errors[type(error).__name__] += 1
