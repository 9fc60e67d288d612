"""The embedded Redis child: private, replaceable, and gone with its parent. On a real Redis."""

import asyncio
import os
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import pytest
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from perplex_mono.storage.redis_folder import FOLDER_PREFIX
from perplex_mono.storage.redis_server import RedisServer, find_redis_binary, guarded

BINARY = find_redis_binary()
pytestmark = pytest.mark.skipif(BINARY is None, reason="no Redis program on this machine")


async def eventually(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - any condition, whoever brings it about
            await asyncio.sleep(0.01)


@asynccontextmanager
async def running(directory: Path, **options: float) -> AsyncIterator[RedisServer]:
    server = RedisServer(BINARY, directory, min_delay_seconds=0.05, **options)  # type: ignore[arg-type]  # mixed keywords
    server.start()
    try:
        async with asyncio.timeout(60):
            await server.wait_url()
        yield server
    finally:
        await server.stop()


@pytest.fixture
def directory() -> Iterator[Path]:
    """A folder with a short path; pytest's own may be too long for a socket."""
    with tempfile.TemporaryDirectory(prefix="pm-") as name:
        yield Path(name)


def folders(directory: Path) -> list[Path]:
    return sorted(directory.glob(FOLDER_PREFIX + "*"))


def lives(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def client(server: RedisServer) -> Redis:
    return Redis(unix_socket_path=str(server.socket_path))


async def test_it_listens_on_a_private_socket_only(directory: Path) -> None:
    async with running(directory) as server:
        assert server.status().state == "up"
        assert server.socket_path is not None
        assert server.socket_path.parent.parent == directory
        assert stat.S_IMODE(server.socket_path.parent.stat().st_mode) == 0o700
        assert stat.S_IMODE(server.socket_path.stat().st_mode) == 0o700
        assert stat.S_IMODE((server.socket_path.parent / "redis.conf").stat().st_mode) == 0o600
        assert server.pid is not None
        assert [c for c in psutil.Process(server.pid).net_connections("inet") if c.status == "LISTEN"] == []
        pid = server.pid
    assert not lives(pid)
    assert folders(directory) == []
    assert server.status().state == "down"


@pytest.mark.parametrize(
    "command",
    [
        "FLUSHALL", "FLUSHDB", "CONFIG GET *", "EVAL return(1) 0", "SCRIPT FLUSH", "KEYS *", "SCAN 0", "DEBUG SLEEP 0",
        "SHUTDOWN NOSAVE", "SAVE", "ACL LIST", "MODULE LIST", "REPLICAOF NO ONE", "PUBLISH a b", "GET elsewhere",
    ],
)  # fmt: skip
async def test_the_access_list_denies_what_arq_does_not_need(shared_server: RedisServer, command: str) -> None:
    async with client(shared_server) as redis:
        with pytest.raises(ResponseError, match=r"no permissions|not allowed"):  # Redis 7 refuses DEBUG before it asks
            await redis.execute_command(*command.split())  # type: ignore[no-untyped-call]  # redis-py has no types here


@pytest.fixture
async def shared_server(directory: Path) -> AsyncIterator[RedisServer]:
    async with running(directory) as server:
        yield server


async def test_a_killed_child_is_replaced(directory: Path) -> None:
    async with running(directory) as server:
        first = server.pid
        assert first is not None
        os.kill(first, signal.SIGKILL)
        await eventually(lambda: server.status().state == "up" and server.status().restarts == 1)
        assert server.pid != first
        async with client(server) as redis:
            assert await redis.ping()
        assert len(folders(directory)) == 1


async def test_a_frozen_child_is_reported_and_replaced(directory: Path) -> None:
    async with running(directory, ping_interval_seconds=0.05, unresponsive_after_seconds=0.1) as server:
        first = server.pid
        assert first is not None
        os.kill(first, signal.SIGSTOP)
        await eventually(lambda: server.status().state == "down")
        await eventually(lambda: server.status().state == "up")
        assert not lives(first)


async def test_stopping_a_frozen_child_ends_it(directory: Path) -> None:
    async with running(directory) as server:
        pid = server.pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        async with asyncio.timeout(60):
            await server.stop(5)
    assert not lives(pid)
    assert folders(directory) == []


async def test_without_a_program_it_is_absent_and_says_so(directory: Path) -> None:
    binary = find_redis_binary(search_path=str(directory), package="no_such_package")
    assert binary is None
    server = RedisServer(binary, directory)
    server.start()
    assert server.status().state == "absent"
    assert "no valkey-server or redis-server" in (server.reason() or "")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await server.wait_url()
    await server.stop()
    assert server.status().state == "absent"


def test_a_program_on_the_path_is_preferred(directory: Path) -> None:
    for name in ("redis-server", "valkey-server"):
        (directory / name).write_text("#!/bin/sh\n")
        (directory / name).chmod(0o755)
        assert find_redis_binary(search_path=str(directory)) == directory / name


async def test_a_program_that_cannot_run_is_down_with_its_last_words(directory: Path) -> None:
    broken = directory / "redis-server"
    broken.write_text("#!/bin/sh\necho cannot open something\nexit 3\n")
    broken.chmod(0o755)
    server = RedisServer(broken, directory, min_delay_seconds=0.01, max_delay_seconds=0.02)
    server.start()
    await eventually(
        lambda: server.status().restarts >= 2 and "cannot open something" in (server.status().reason or "")
    )
    assert server.status().state == "down"
    await server.stop()
    assert folders(directory) == []


async def test_two_servers_share_a_directory_without_meeting(directory: Path) -> None:
    async with running(directory) as one, running(directory) as two:
        assert one.socket_path != two.socket_path
        async with client(one) as redis:
            await redis.psetex("arq:x", 60_000, "one")
        async with client(two) as redis:
            assert await redis.get("arq:x") is None


async def test_a_directory_too_deep_for_a_socket_gives_way_to_a_temporary_one(directory: Path) -> None:
    deep = directory / ("d" * 120)
    async with running(deep) as server:
        assert server.socket_path is not None
        assert not server.socket_path.is_relative_to(deep)
        folder = server.socket_path.parent
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert not folder.exists()
    assert folders(deep) == []


PARENT = """
import asyncio, sys
from pathlib import Path
from perplex_mono.storage.redis_server import RedisServer, find_redis_binary
async def main():
    server = RedisServer(find_redis_binary(), Path(sys.argv[1]))
    server.start()
    await server.wait_url()
    print(server.pid, flush=True)
    await asyncio.Event().wait()
asyncio.run(main())
"""


async def test_kill_9_of_the_parent_leaves_no_child_and_the_next_start_no_folder(directory: Path) -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(directory)], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pid = int(await asyncio.to_thread(parent.stdout.readline))
    parent.stdout.close()
    assert lives(pid)
    left = folders(directory)
    assert len(left) == 1
    parent.kill()
    parent.wait()
    await eventually(lambda: not lives(pid))
    async with running(directory):
        assert len(folders(directory)) == 1
        assert folders(directory) != left


@pytest.mark.parametrize("mode", ["exec", "watch"])
@pytest.mark.parametrize("how", ["parent", "terminate"])
async def test_a_guarded_program_ends_with_its_parent_and_by_request(mode: str, how: str) -> None:
    if mode == "exec" and sys.platform != "linux":
        pytest.skip("only Linux can bind a child to its parent")
    program = [sys.executable, "-c", "import os, time; print(os.getpid(), flush=True); time.sleep(600)"]
    script = (
        "import subprocess, sys, time; from perplex_mono.storage.redis_server import guarded;"
        f"child = subprocess.Popen(guarded({program!r}, mode={mode!r}), stdin=subprocess.PIPE);"
        "print(child.pid, flush=True); time.sleep(600)"
    )
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    guard_pid, program_pid = [int(await asyncio.to_thread(parent.stdout.readline)) for _ in range(2)]
    assert (guard_pid == program_pid) is (mode == "exec")
    if how == "parent":
        parent.kill()
    else:
        os.kill(guard_pid, signal.SIGTERM)
    await eventually(lambda: not lives(guard_pid) and not lives(program_pid))
    parent.kill()
    parent.wait()
    parent.stdout.close()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can bind a child to its parent")
def test_a_program_whose_parent_is_already_gone_is_not_started(directory: Path) -> None:
    command = guarded(["/bin/sh", "-c", f"touch {directory}/started"], mode="exec")
    command[5] = "999999999"
    assert subprocess.run(command, stdin=subprocess.DEVNULL, timeout=60).returncode == 1
    assert not (directory / "started").exists()
