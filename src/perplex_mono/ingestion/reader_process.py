"""One reader child as the server sees it: a subprocess that takes a command and sends messages until it dies."""

import asyncio
import contextlib
import os
import signal
import sys
from collections import deque
from pathlib import Path

import msgspec
from loguru import logger

import perplex_mono
from perplex_mono.errors import Unavailable
from perplex_mono.ingestion.readers.wire import (
    LENGTH,
    MAX_FRAME_BYTES,
    ChildMessage,
    Command,
    Ready,
    frame,
)

CHILD_MODULE = "perplex_mono.ingestion.readers.child"
START_TIMEOUT_SECONDS = 30.0
# Pipe buffer on our side: an image of 11 MB (a page at 200 dpi) arrives in a dozen wake-ups.
STREAM_BUFFER_BYTES = 1024 * 1024
STDERR_LINES_KEPT = 20
STDERR_LINE_BYTES = 2_000
# What a child may know of our environment; the rest can hold secrets, and it reads files of strangers.
PASSED_ENVIRONMENT = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "TMPDIR", "LANG", "LC_ALL", "HOME", "VIRTUAL_ENV")


class ReaderDied(Exception):
    """The child closed its pipe in the middle of a command, or sent what no healthy child sends."""


class ReaderProcess:
    """A started child. Not safe for two callers at once; the pool lends it to one at a time."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self.documents = 0
        self.spoiled = False
        self._process = process
        self._stdin = process.stdin
        self._stdout = process.stdout
        self._decoder = msgspec.msgpack.Decoder(ChildMessage)
        self._stderr_tail: deque[str] = deque(maxlen=STDERR_LINES_KEPT)
        self._stderr_task = asyncio.create_task(self._keep_stderr(), name=f"reader-stderr-{process.pid}")

    @classmethod
    async def start(cls, *, niceness: int) -> "ReaderProcess":
        """Spawn a child and wait until it takes commands. Raises `Unavailable` when it does not come up."""
        try:
            process = await asyncio.create_subprocess_exec(
                *_command_line(niceness),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                limit=STREAM_BUFFER_BYTES,
                env=_environment(),
            )
        except OSError as error:
            raise Unavailable("document reader", f"a reader process could not be started ({error})") from error
        child = cls(process)
        try:
            async with asyncio.timeout(START_TIMEOUT_SECONDS):
                message = await child.receive()
            if not isinstance(message, Ready):
                raise ReaderDied("it did not greet")
        except (ReaderDied, TimeoutError) as error:
            await child.dispose()
            reason = f"a reader process did not start ({error or 'timeout'}): {child.stderr_tail()}"
            raise Unavailable("document reader", reason) from error
        except BaseException:
            child.kill()
            raise
        return child

    @property
    def pid(self) -> int:
        """Process id of the child."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether the child has not ended, as far as is known."""
        return self._process.returncode is None

    async def send(self, command: Command) -> None:
        """Hand the child a command. Raises `ReaderDied` when it is gone."""
        try:
            self._stdin.write(frame(command))
            await self._stdin.drain()
        except (ConnectionError, RuntimeError) as error:
            raise ReaderDied("it had ended") from error

    async def receive(self) -> ChildMessage:
        """The next message. Raises `ReaderDied` at the end of the stream and on frames no healthy child sends."""
        try:
            (length,) = LENGTH.unpack(await self._stdout.readexactly(LENGTH.size))
            if length > MAX_FRAME_BYTES:
                raise ReaderDied(f"it announced a message of {length} bytes")
            message: ChildMessage = self._decoder.decode(await self._stdout.readexactly(length))
        except asyncio.IncompleteReadError as error:
            raise ReaderDied("it ended") from error
        except msgspec.MsgspecError as error:
            raise ReaderDied(f"it sent a broken message ({error})") from error
        return message

    async def receive_bulk(self, byte_count: int) -> bytes:
        """The raw bytes that follow an announcing message; joined off the event loop, which is slow for big images."""
        chunks: list[bytes] = []
        missing = byte_count
        while missing:
            chunk = await self._stdout.read(min(missing, STREAM_BUFFER_BYTES))
            if not chunk:
                raise ReaderDied("it ended")
            chunks.append(chunk)
            missing -= len(chunk)
        return await asyncio.to_thread(b"".join, chunks)

    def kill(self) -> None:
        """End the child at once; `dispose` frees what it held."""
        self.spoiled = True
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()

    async def dispose(self) -> None:
        """Kill the child, reap it, and close every pipe and task that belonged to it."""
        self.kill()
        self._stdin.close()
        # Process.wait() returns only after the pipes are read to their end, and a full pipe is not.
        while await self._stdout.read(STREAM_BUFFER_BYTES):
            pass
        await self._process.wait()
        await self._stderr_task

    async def cause_of_death(self) -> tuple[int, str]:
        """Reap a child that has died by itself: its return code (negative: the signal) and the end of its stderr."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1.0):
                await self._process.wait()
        returncode = self._process.returncode
        await self.dispose()
        return (returncode if returncode is not None else -signal.SIGKILL), self.stderr_tail()

    def stderr_tail(self) -> str:
        """The last lines the child wrote to stderr."""
        return "\n".join(self._stderr_tail)

    async def _keep_stderr(self) -> None:
        """Read stderr to its end, keeping a bounded tail, so that a talkative library can neither block nor flood."""
        stderr = self._process.stderr
        assert stderr is not None
        while chunk := await stderr.read(STDERR_LINE_BYTES):
            text = chunk.decode(errors="replace").strip()
            if text:
                self._stderr_tail.append(text)
                logger.debug("reader.stderr", pid=self.pid, text=text)


def _command_line(niceness: int) -> list[str]:
    # -P: the working directory, where documents may lie, must not be searched for modules.
    flags = ["-P", "-X", "utf8", "-m", CHILD_MODULE]
    return [sys.executable, *flags, "--parent", str(os.getpid()), "--niceness", str(niceness)]


def _environment() -> dict[str, str]:
    passed = {name: os.environ[name] for name in PASSED_ENVIRONMENT if name in os.environ}
    package_root = str(Path(perplex_mono.__file__).parent.parent)
    one_thread = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2"}
    return passed | one_thread | {"PYTHONPATH": package_root}
