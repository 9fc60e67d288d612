"""The doorbell on a real Redis: rings arrive while it lives, and nothing breaks while it does not."""

import asyncio
import os
import pickle
import signal
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from redis.asyncio import Redis

from perplex_mono.storage.queue import QUEUE_NAME, ArqDoorbell, decode_job, encode_job
from perplex_mono.storage.redis_endpoint import ExternalRedis, RedisEndpoint
from perplex_mono.storage.redis_server import RedisServer, find_redis_binary

BINARY = find_redis_binary()
pytestmark = [
    pytest.mark.skipif(BINARY is None, reason="no Redis program on this machine"),
    pytest.mark.filterwarnings("ignore:Call to deprecated close:DeprecationWarning"),  # inside arq
]
OPERATION = "01936f0e-5a7b-7c3d-9e1f-0123456789ab"


async def eventually(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - any condition, whoever brings it about
            await asyncio.sleep(0.01)


@pytest.fixture
def directory() -> Iterator[Path]:
    """A folder with a short path; pytest's own may be too long for a socket."""
    with tempfile.TemporaryDirectory(prefix="pm-") as name:
        yield Path(name)


@pytest.fixture
async def server(directory: Path) -> AsyncIterator[RedisServer]:
    server = RedisServer(BINARY, directory, min_delay_seconds=0.05)
    server.start()
    async with asyncio.timeout(60):
        await server.wait_url()
    yield server
    await server.stop()


@asynccontextmanager
async def doorbell(
    endpoint: RedisEndpoint, heard: list[str], answer_seconds: float = 10.0
) -> AsyncIterator[ArqDoorbell]:
    async def on_ring(operation_id: str) -> None:
        heard.append(operation_id)

    bell = ArqDoorbell(
        endpoint, on_ring, answer_timeout_seconds=answer_seconds, min_delay_seconds=0.05, max_delay_seconds=0.2
    )
    bell.start()
    try:
        yield bell
    finally:
        async with asyncio.timeout(60):
            await bell.stop()


async def connected(bell: ArqDoorbell) -> None:
    await eventually(lambda: bell.status().state == "ok")


async def test_a_ring_is_heard(server: RedisServer) -> None:
    heard: list[str] = []
    async with doorbell(server, heard) as bell:
        assert bell.status().state == "degraded"
        bell.ring(OPERATION, 1)
        await eventually(lambda: heard == [OPERATION])
        assert (bell.status().name, bell.status().state, bell.status().restarts) == ("queue", "ok", 0)
        bell.ring(OPERATION, 2)
        await eventually(lambda: heard == [OPERATION, OPERATION])
        async with Redis(unix_socket_path=str(server.socket_path)) as redis:
            assert await redis.zcard(QUEUE_NAME) == 0
            assert await redis.exists(f"arq:job:{OPERATION}:1", f"arq:result:{OPERATION}:1") == 0
    assert bell.status().state == "down"


async def test_an_answer_that_fails_does_not_stop_the_next(server: RedisServer) -> None:
    heard: list[str] = []

    async def on_ring(operation_id: str) -> None:
        heard.append(operation_id)
        if operation_id == "bad":
            raise ValueError("dispatcher trouble")

    bell = ArqDoorbell(server, on_ring)
    bell.start()
    bell.ring("bad", 1)
    await eventually(lambda: heard == ["bad"])
    bell.ring("good", 1)
    await eventually(lambda: heard == ["bad", "good"])
    assert bell.status().restarts == 0
    await bell.stop()


async def test_rings_are_heard_again_after_redis_is_killed(server: RedisServer) -> None:
    heard: list[str] = []
    async with doorbell(server, heard) as bell:
        await connected(bell)
        assert server.pid is not None
        os.kill(server.pid, signal.SIGKILL)
        bell.ring("meanwhile", 1)
        await eventually(lambda: bell.status().restarts >= 1)
        await connected(bell)
        bell.ring(OPERATION, 1)
        await eventually(lambda: OPERATION in heard)


async def test_a_frozen_redis_degrades_and_recovers(server: RedisServer) -> None:
    heard: list[str] = []
    async with doorbell(server, heard, answer_seconds=0.5) as bell:
        await connected(bell)
        assert server.pid is not None
        os.kill(server.pid, signal.SIGSTOP)
        for number in range(3_000):
            bell.ring(f"frozen-{number}", 1)
        await eventually(lambda: bell.status().state == "degraded")
        assert bell.status().reason
        os.kill(server.pid, signal.SIGCONT)
        await connected(bell)
        bell.ring(OPERATION, 1)
        await eventually(lambda: OPERATION in heard)


async def test_stop_ends_in_time_while_redis_is_frozen(server: RedisServer) -> None:
    async with doorbell(server, [], answer_seconds=0.5) as bell:
        await connected(bell)
        assert server.pid is not None
        os.kill(server.pid, signal.SIGSTOP)
        bell.ring(OPERATION, 1)
        async with asyncio.timeout(60):
            await bell.stop(2)
        assert bell.status().state == "down"


async def test_stop_lets_an_answer_in_progress_finish(server: RedisServer) -> None:
    begun, finished = asyncio.Event(), False

    async def on_ring(operation_id: str) -> None:
        nonlocal finished
        begun.set()
        await asyncio.sleep(0.3)
        finished = True

    bell = ArqDoorbell(server, on_ring)
    bell.start()
    bell.ring(OPERATION, 1)
    async with asyncio.timeout(60):
        await begun.wait()
        await bell.stop()
    assert finished


async def test_without_redis_a_ring_does_nothing_and_the_status_says_why(directory: Path) -> None:
    heard: list[str] = []
    absent = RedisServer(None, directory)
    absent.start()
    async with doorbell(absent, heard) as bell:
        for number in range(3_000):
            bell.ring(f"unheard-{number}", 1)
        await asyncio.sleep(0.05)
        assert bell.status().state == "degraded"
        assert "no valkey-server or redis-server" in (bell.status().reason or "")
    assert heard == []


async def test_an_external_redis_may_be_flushed_at_any_moment(directory: Path) -> None:
    socket = directory / "external.sock"
    command = [str(BINARY), "--port", "0", "--unixsocket", str(socket), "--save", "", "--dir", str(directory)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    heard: list[str] = []
    try:
        async with (
            doorbell(ExternalRedis(f"unix://{socket}"), heard) as bell,
            Redis(unix_socket_path=str(socket)) as redis,
        ):
            await connected(bell)
            for number in range(200):
                bell.ring(f"ring-{number}", 1)
                if number % 10 == 0:
                    await redis.flushall()
                    await asyncio.sleep(0.005)
            await redis.flushall()
            bell.ring(OPERATION, 1)
            await eventually(lambda: OPERATION in heard)
            assert bell.status().state == "ok"
    finally:
        process.kill()
        process.wait()


class Malicious:
    """Touches a file when unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str, int]]:
        return os.open, (str(self.path), os.O_CREAT)


def job(**changes: object) -> bytes:
    return encode_job({"f": "pick_up", "a": ["x"], "k": {}, "t": None, "et": 1} | changes)


async def test_forged_jobs_are_ignored(server: RedisServer, directory: Path) -> None:
    forged = [
        pickle.dumps(Malicious(directory / "unpickled")),
        pickle.dumps({"f": "pick_up", "a": ("x",), "k": {}, "t": 1, "et": 1}),
        b"",
        b"\xff\xfe",
        b"[" * 100_000,
        b"[]",
        job(f="os.system"),
        job(f="ignore"),
        job(a=[]),
        job(a=["x", "y"]),
        job(a=[7]),
        job(a=["../../etc"]),
        job(a=["line\nbreak"]),
        job(a=["x" * 65]),
        job(k={"more": "1"}),
        job(t=99),
        job(et=10**40),
        job(extra=1),
    ]
    heard: list[str] = []
    async with doorbell(server, heard) as bell, Redis(unix_socket_path=str(server.socket_path)) as redis:
        await connected(bell)
        for number, data in enumerate(forged):
            await redis.psetex(f"arq:job:forged-{number}", 60_000, data)
            await redis.zadd(QUEUE_NAME, {f"forged-{number}": int(time.time() * 1000)})
        await redis.zadd(QUEUE_NAME, {"without-a-job": int(time.time() * 1000)})
        async with asyncio.timeout(60):
            while await redis.zcard(QUEUE_NAME):  # noqa: ASYNC110 - the queue is in another process
                await asyncio.sleep(0.01)
        bell.ring(OPERATION, 1)
        await eventually(lambda: bool(heard))
        assert heard == [OPERATION]
        assert bell.status().restarts == 0
        assert not (directory / "unpickled").exists()


async def test_what_breaks_the_worker_does_not_break_it_for_ever(server: RedisServer) -> None:
    heard: list[str] = []
    async with doorbell(server, heard) as bell, Redis(unix_socket_path=str(server.socket_path)) as redis:
        await connected(bell)
        await redis.zadd(QUEUE_NAME, {b"\xff\xfe not text": 1})
        await eventually(lambda: bell.status().restarts == 1)
        await connected(bell)
        await redis.psetex(QUEUE_NAME, 60_000, "not a queue")
        await eventually(lambda: bell.status().restarts == 2)
        await connected(bell)
        bell.ring(OPERATION, 1)
        await eventually(lambda: heard == [OPERATION])


def test_the_job_that_is_sent_is_the_job_that_is_understood() -> None:
    sent: dict[str, object] = {"f": "pick_up", "a": (OPERATION,), "k": {}, "t": None, "et": 1_763_000_000_000}
    assert decode_job(encode_job(sent)) == sent
