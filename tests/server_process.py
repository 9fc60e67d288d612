"""A real server in a process of its own, on a free port and a data directory of the test's."""

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx

START_SECONDS = 60.0
READY_SECONDS = 120.0


def free_port() -> int:
    """A port nobody listens on now, outside the range of which the system gives ports to clients."""
    while True:
        port = random.randrange(15_000, 30_000)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


class ServerProcess:
    """`python -m perplex_mono serve`; may be killed and started again on the same data.

    `module` names another program to run in its place, which ends up serving too.
    """

    def __init__(
        self, directory: Path, environment: Mapping[str, str] | None = None, *, module: str = "perplex_mono"
    ) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.data = directory / "data"
        self.log_file = directory / "server.log"
        self._directory = directory
        self._environment = dict(environment or {})
        self._module = module
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The server's process id."""
        assert self._process is not None
        return self._process.pid

    def start(self, **extra: str) -> None:
        """Start and wait until `/health` answers."""
        self.launch(**extra)
        self.wait_healthy()

    def wait_healthy(self) -> None:
        """Wait until `/health` answers."""
        self._wait(lambda: httpx.get(f"{self.url}/health", timeout=2).status_code == 200, START_SECONDS)

    def launch(self, **extra: str) -> None:
        """Start and do not wait."""
        environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith("PERPLEX_")},
            "PERPLEX_DATA__DIRECTORY": str(self.data),
            "PERPLEX_SERVER__PORT": str(self.port),
            "PERPLEX_LIMITS__DISK_RESERVE_BYTES": "1000000",
            "PERPLEX_LIMITS__DISK_RESERVE_FRACTION": "0.0",
            **self._environment,
            **extra,
        }
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", self._module, "serve"],
                cwd=self._directory,
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def wait_ready(self) -> None:
        """Wait until the index is open and the model loaded."""

        def is_ready() -> bool:
            components = httpx.get(f"{self.url}/ready", timeout=10).json()["components"]
            return all(components[name]["status"] == "ok" for name in ("vectors", "embedding"))

        self._wait(is_ready, READY_SECONDS)

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        """End it as a power switch would."""
        self.signal(signal.SIGKILL)
        self.wait_end(30)

    def ended(self) -> bool:
        """Whether it has ended, however that came."""
        return self._process is None or self._process.poll() is not None

    def wait_end(self, seconds: float = 60.0) -> int:
        """Wait until it ended by itself; its exit code."""
        assert self._process is not None
        return self._process.wait(seconds)

    def stop(self) -> int:
        """Ask it to stop; its exit code."""
        assert self._process is not None
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(45)
            except subprocess.TimeoutExpired:
                self.kill()
        return self._process.returncode

    def examine(self, *options: str) -> dict[str, Any]:
        """What the doctor says of the data, once the server is stopped; `--repair` has it mend them."""
        command = [sys.executable, "-m", "perplex_mono", "doctor", "--json", *options]
        environment = {**os.environ, "PERPLEX_DATA__DIRECTORY": str(self.data)}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode in (0, 1), done.stderr
        report: dict[str, Any] = json.loads(done.stdout)
        return report

    def log(self) -> str:
        """What it wrote."""
        return self.log_file.read_text(errors="replace")

    def upload(self, *files: tuple[str, bytes], collection: str = "default") -> dict[str, Any]:
        """Upload files; the answer's JSON."""
        parts = [("files", (name, content)) for name, content in files]
        answer = httpx.post(f"{self.url}/api/v1/collections/{collection}/documents", files=parts, timeout=60)
        assert answer.status_code == 202, answer.text
        result: dict[str, Any] = answer.json()
        return result

    def wait_operation(self, operation_id: str, seconds: float = 120.0) -> dict[str, Any]:
        """Wait until the operation is final; its JSON."""
        last: dict[str, Any] = {}

        def is_final() -> bool:
            last.update(httpx.get(f"{self.url}/api/v1/operations/{operation_id}", timeout=10).json())
            return last["state"] in ("completed", "failed", "dead", "cancelled")

        self._wait(is_final, seconds)
        return last

    def documents(self) -> list[dict[str, Any]]:
        """The documents of the default collection."""
        items: list[dict[str, Any]] = httpx.get(
            f"{self.url}/api/v1/collections/default/documents", params={"limit": 200}, timeout=30
        ).json()["items"]
        return items

    def search(self, query: str, **options: Any) -> dict[str, Any]:
        """Search; the answer's JSON."""
        answer = httpx.post(f"{self.url}/api/v1/search", json={"query": query, **options}, timeout=60)
        assert answer.status_code == 200, answer.text
        result: dict[str, Any] = answer.json()
        return result

    def _wait(self, condition: Any, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            assert self._process is not None
            if self._process.poll() is not None:
                raise AssertionError(f"the server ended with {self._process.returncode}:\n{self.log()[-3000:]}")
            try:
                if condition():
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.1)
        raise AssertionError(f"nothing happened in {seconds} s:\n{self.log()[-3000:]}")


@contextmanager
def running_server(directory: Path, environment: Mapping[str, str] | None = None) -> Iterator[ServerProcess]:
    """A started server; stopped at the end, whatever happened."""
    server = ServerProcess(directory, environment)
    server.start()
    try:
        yield server
    finally:
        server.stop()
