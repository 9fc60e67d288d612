"""The server under more clients than it is for: many at once, slow ones, and a storm of sockets; and how it is after.

The clients speak HTTP/1.1 over bare sockets, because a client library on the same two cores would be measured instead.
"""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import numpy as np
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from benchmarks.process_memory import tree_bytes
from benchmarks.product import LIMITS_OFF, Product, running_product
from benchmarks.rows import Row, run_as_command
from benchmarks.texts import questions

CLIENTS = 100
REQUESTS_EACH = 20
SLOW_CONNECTIONS = 1_000
SLOW_SECONDS = 20.0
SOCKET_ATTEMPTS = 10_000
SOCKETS_AT_ONCE = 200
DOCUMENTS = 300
TIMEOUT_SECONDS = 10.0
RECOVERY_SECONDS = 10.0
HEALTH_MS, SLOW_HEALTH_MS, LIST_MS = 100.0, 1000.0, 500.0
MAX_ERRORS, MAX_MEMORY_RATIO, MAX_BYTES = 0.01, 1.2, 2_000_000_000

HEALTH = "GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
LIST = "GET /api/v1/collections/default/documents?limit=50 HTTP/1.1\r\nHost: localhost\r\n\r\n"
BEGUN = (
    "POST /api/v1/search HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 5000\r\n\r\n"
)


class _Answers:
    """Seconds of the good answers, and how the others ended."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.errors: Counter[str] = Counter()

    @property
    def p95_ms(self) -> float:
        return float(np.percentile(self.seconds, 95)) * 1000 if self.seconds else float("inf")

    @property
    def error_fraction(self) -> float:
        errors = self.errors.total()
        return errors / max(1, errors + len(self.seconds))


def run(limit: int | None = None) -> list[Row]:
    """With `limit` clients at once, ten times as many slow ones, a hundred times as many attempts to open a socket."""
    clients = limit or CLIENTS
    environment = {**LIMITS_OFF, "PERPLEX_OCR__ENGINE": "none"}
    with running_product(environment=environment) as product:
        texts = [(f"{n}.txt", f"Note {n} about the harbour, the tide and boat {n}.".encode()) for n in range(DOCUMENTS)]
        product.ingest(texts)
        return asyncio.run(_measure(product, clients))


async def _measure(product: Product, clients: int) -> list[Row]:
    before = tree_bytes(product.server.pid)
    with product.peak_memory() as peak:
        health = await _crowd(product, HEALTH, clients)
        listing = await _crowd(product, LIST, clients)
        slow = await _beside_slow_ones(product, clients * SLOW_CONNECTIONS // CLIENTS)
        outcomes = await _sockets(product, clients * SOCKET_ATTEMPTS // CLIENTS)
        recovery = await _recovery_seconds(product)
    after = tree_bytes(product.server.pid)
    broken = sum(count for outcome, count in outcomes.items() if outcome not in ("opened", "1008", "1013"))
    attempts = outcomes.total()
    told = ", ".join(f"{count} {outcome}" for outcome, count in outcomes.most_common())
    return [
        _latency(f"/health, {clients} clients at once, p95", health, HEALTH_MS),
        _latency(f"list of documents, {clients} clients at once, p95", listing, LIST_MS),
        _latency(f"/health beside {clients * SLOW_CONNECTIONS // CLIENTS} slow connections, p95", slow, SLOW_HEALTH_MS),
        Row(
            "sockets neither opened nor refused as promised",
            broken,
            "attempts",
            None,
            None,
            "< 1 %",
            broken < MAX_ERRORS * attempts,
            told,
        ),
        Row(
            "memory at most",
            peak.bytes / 1e6,
            "MB",
            None,
            None,
            f"< {MAX_BYTES // 10**6} MB",
            peak.bytes < MAX_BYTES,
            "",
        ),
        Row("well again after all that", recovery, "s", None, None, "<= 10 s", recovery <= RECOVERY_SECONDS, ""),
        Row(
            "memory after it",
            after / 1e6,
            "MB",
            before / 1e6,
            after / before,
            f"<= {MAX_MEMORY_RATIO}x before",
            after / before <= MAX_MEMORY_RATIO,
            "",
        ),
    ]


def _latency(name: str, answers: _Answers, bound_ms: float) -> Row:
    met = answers.p95_ms < bound_ms and answers.error_fraction < MAX_ERRORS
    note = f"{len(answers.seconds)} answers, {answers.errors.total()} errors {dict(answers.errors) or ''}"
    return Row(name, answers.p95_ms, "ms", None, None, f"< {bound_ms:.0f} ms, errors < 1 %", met, note)


async def _crowd(product: Product, request: str, clients: int) -> _Answers:
    """So many clients, each asking again as soon as it was answered, on a connection of its own."""
    answers = _Answers()

    async def client() -> None:
        with _noted(answers):
            reader, writer = await asyncio.open_connection("127.0.0.1", product.server.port)
            for _ in range(REQUESTS_EACH):
                await _ask(reader, writer, request, answers)
            writer.close()

    await asyncio.gather(*(client() for _ in range(clients)))
    return answers


async def _beside_slow_ones(product: Product, count: int) -> _Answers:
    """Ask for health while others send a byte of a body or of a header now and then."""
    answers, stop = _Answers(), asyncio.Event()
    slow = [asyncio.create_task(_drip(product, stop, headers_only=number % 2 == 0)) for number in range(count)]
    await asyncio.sleep(2.0)
    until = time.monotonic() + SLOW_SECONDS
    while time.monotonic() < until:
        with _noted(answers):
            reader, writer = await asyncio.open_connection("127.0.0.1", product.server.port)
            await _ask(reader, writer, HEALTH, answers)
            writer.close()
        await asyncio.sleep(0.05)
    stop.set()
    await asyncio.gather(*slow, return_exceptions=True)
    return answers


async def _drip(product: Product, stop: asyncio.Event, *, headers_only: bool) -> None:
    """A client that never comes to an end; when the server hangs up it comes back."""
    begun = BEGUN[:30] if headers_only else BEGUN
    while not stop.is_set():
        with suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", product.server.port)
            writer.write(begun.encode())
            for _ in range(10):
                await asyncio.sleep(0.5)
                writer.write(b"x")
                await writer.drain()
                if stop.is_set():
                    break
            writer.close()


async def _sockets(product: Product, attempts: int) -> Counter[str]:
    """How attempts to open a feed ended, two hundred at a time."""
    outcomes: Counter[str] = Counter()
    places = asyncio.Semaphore(SOCKETS_AT_ONCE)

    async def attempt() -> None:
        async with places:
            outcomes[await _socket(product)] += 1

    await asyncio.gather(*(attempt() for _ in range(attempts)))
    return outcomes


async def _socket(product: Product) -> str:
    address = f"ws://127.0.0.1:{product.server.port}/ws/operations"
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS), connect(address, proxy=None, close_timeout=1) as socket:
            with suppress(WebSocketException):
                await socket.recv()
                return "opened"
            return str(socket.close_code)
    except (OSError, TimeoutError, WebSocketException) as error:
        return type(error).__name__


async def _recovery_seconds(product: Product) -> float:
    """From now until a search is answered as quickly as on a quiet server, and a feed opens."""
    started = time.monotonic()
    for question in questions():
        asked = time.monotonic()
        answer = await asyncio.to_thread(product.search, question)
        is_quick = time.monotonic() - asked < 1.0 and "hits" in answer
        if is_quick and await _socket(product) == "opened":
            break
        if time.monotonic() - started > 60.0:
            break
    return time.monotonic() - started


async def _ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: str, answers: _Answers) -> None:
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
def _noted(answers: _Answers) -> Iterator[None]:
    """Counts how a client's connection ended, if badly."""
    try:
        yield
    except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
        answers.errors[type(error).__name__] += 1


if __name__ == "__main__":
    run_as_command(run, __doc__, "clients at once")
