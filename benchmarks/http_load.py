"""A load generator in a process of its own: so many keep-alive connections, each sending its next request at once.

Run as `python -m benchmarks.http_load PLAN.json`; prints what it measured as JSON. One client for every server that is
measured, so that its own cost burdens all of them alike.
"""

import asyncio
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from itertools import cycle
from pathlib import Path
from urllib.parse import urlsplit

WARM_UP_SECONDS = 1.0
SPARE_SECONDS = 60.0
_END = b"\r\n\r\n"
_LENGTH = b"content-length:"


@dataclass(frozen=True)
class Kind:
    """Requests of one kind, sent in turn (the first again after the last); `share` is how often, of all kinds'."""

    name: str
    share: float
    requests: list[str]


@dataclass(frozen=True)
class Plan:
    """Where, how many, how long, what."""

    port: int
    connections: int
    seconds: float
    kinds: list[Kind]


@dataclass
class Outcome:
    """Latencies in seconds by kind; statuses other than 2xx and broken connections are errors."""

    seconds: float = 0.0
    errors: int = 0
    latencies: dict[str, list[float]] = field(default_factory=dict)

    @property
    def requests(self) -> int:
        """Answers, good ones."""
        return sum(map(len, self.latencies.values()))

    @property
    def per_second(self) -> float:
        """Good answers a second."""
        return self.requests / self.seconds

    def all_latencies(self) -> list[float]:
        """Those of every kind."""
        return [value for values in self.latencies.values() for value in values]


def get(path: str) -> str:
    """The text of a GET request."""
    return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


def post(path: str, body: dict[str, object]) -> str:
    """The text of a POST request with a JSON body (ASCII, so that characters are bytes)."""
    text = json.dumps(body)
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(text)}\r\n\r\n{text}"


def generate_load(plan: Plan) -> Outcome:
    """Run the plan in another process. Raises `RuntimeError` when it could not."""
    with tempfile.TemporaryDirectory(prefix="perplex-load-") as folder:
        file = Path(folder) / "plan.json"
        file.write_text(json.dumps(asdict(plan)), encoding="utf-8")
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.http_load", str(file)],
            capture_output=True,
            timeout=plan.seconds + WARM_UP_SECONDS + SPARE_SECONDS,
            cwd=Path(__file__).parents[1],
            check=False,
        )
    if done.returncode:
        raise RuntimeError(f"the load generator failed: {done.stderr.decode(errors='replace')[-2000:]}")
    return Outcome(**json.loads(done.stdout))


def port_of(url: str) -> int:
    """The port in an address."""
    port = urlsplit(url).port
    assert port is not None
    return port


class _Connection(asyncio.Protocol):
    """Sends a request as soon as the answer before is complete."""

    def __init__(self, load: "_Load") -> None:
        self._load = load
        self._buffer = b""
        self._kind = ""
        self._sent = 0.0
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._send()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head_end = self._buffer.find(_END)
        if head_end < 0 or len(self._buffer) < head_end + len(_END) + self._body_length(head_end):
            return
        self._load.answered(self._kind, self._sent, self._buffer[9:10] == b"2")
        self._buffer = b""
        self._send()

    def connection_lost(self, exception: Exception | None) -> None:
        self._load.lost()

    def _send(self) -> None:
        assert self._transport is not None
        if self._load.is_over:
            self._transport.close()
            return
        self._kind, request = self._load.next_request()
        self._sent = time.perf_counter()
        self._transport.write(request)

    def _body_length(self, head_end: int) -> int:
        head = self._buffer[:head_end].lower()
        at = head.find(_LENGTH)
        if at < 0:
            raise ValueError(f"an answer without its length: {head[:200]!r}")
        return int(head[at + len(_LENGTH) :].split(b"\r\n", 1)[0])


class _Load:
    """What all connections share: the next request, the clock, and what was measured."""

    def __init__(self, plan: Plan) -> None:
        self._source = random.Random(1)
        self._names = [kind.name for kind in plan.kinds]
        self._shares = [kind.share for kind in plan.kinds]
        self._requests: dict[str, Iterator[bytes]] = {
            kind.name: cycle([request.encode() for request in kind.requests]) for kind in plan.kinds
        }
        self._first = time.perf_counter() + WARM_UP_SECONDS
        self._last = self._first + plan.seconds
        self.outcome = Outcome(plan.seconds, 0, {name: [] for name in self._names})

    @property
    def is_over(self) -> bool:
        return time.perf_counter() >= self._last

    def next_request(self) -> tuple[str, bytes]:
        name = self._source.choices(self._names, self._shares)[0]
        return name, next(self._requests[name])

    def answered(self, kind: str, sent: float, is_good: bool) -> None:
        now = time.perf_counter()
        if self._first <= now <= self._last:
            if is_good:
                self.outcome.latencies[kind].append(now - sent)
            else:
                self.outcome.errors += 1

    def lost(self) -> None:
        if not self.is_over:
            self.outcome.errors += 1


async def _run(plan: Plan) -> Outcome:
    loop = asyncio.get_running_loop()
    load = _Load(plan)
    for _ in range(plan.connections):
        await loop.create_connection(lambda: _Connection(load), "127.0.0.1", plan.port)
    await asyncio.sleep(WARM_UP_SECONDS + plan.seconds + 1.0)
    return load.outcome


def main() -> None:
    """Run the plan of a file."""
    stated = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    plan = Plan(**{**stated, "kinds": [Kind(**kind) for kind in stated["kinds"]]})
    sys.stdout.write(json.dumps(asdict(asyncio.run(_run(plan)))))


if __name__ == "__main__":
    main()
