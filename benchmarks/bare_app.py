"""The least that Litestar on granian can be: one handler, served as the product serves, in a process of its own.

Run as `python -m benchmarks.bare_app PORT`.
"""

import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
from granian.constants import Interfaces
from granian.server.embed import Server
from litestar import Litestar, get

from tests.server_process import free_port

START_SECONDS = 30.0


@get("/health")
async def health() -> dict[str, str]:
    """Alive."""
    return {"status": "ok"}


@contextmanager
def running_bare_app() -> Iterator[int]:
    """Serve it until the block ends; the port."""
    port = free_port()
    command = [sys.executable, "-m", "benchmarks.bare_app", str(port)]
    process = subprocess.Popen(command, cwd=Path(__file__).parents[1])
    try:
        _wait(port, process)
        yield port
    finally:
        process.kill()
        process.wait()


def _wait(port: int, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            httpx.get(f"http://127.0.0.1:{port}/health", timeout=2).raise_for_status()
        except httpx.TransportError:
            time.sleep(0.1)
        else:
            return
    raise RuntimeError("the bare application did not start")


def main() -> None:
    """Serve on the port of the command line until killed."""
    app = Litestar([health])
    server = Server(
        app, address="127.0.0.1", port=int(sys.argv[1]), interface=Interfaces.ASGI, log_enabled=False, websockets=True
    )
    asyncio.run(server.serve())


if __name__ == "__main__":
    main()
