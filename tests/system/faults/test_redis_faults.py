"""Redis holds nothing that may be lost: killed, flushed, frozen or absent, every upload is picked up and found."""

import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import httpx
import psutil
from redis import Redis

from perplex_mono.storage.redis_server import find_redis_binary
from tests.server_process import ServerProcess
from tests.system.faults.means import missing, quick_and_whole
from tests.system.faults.promises import Promises, eventually
from tests.system.faults.samples import text_file
from tests.system.faults.table import FaultTable

REPLACED_SECONDS = 60.0
ROUNDS = 10


class OutsideRedis:
    """A Redis of the test's own, on a socket with a short path, started and ended as a fault wants it."""

    def __init__(self, folder: Path, binary: Path) -> None:
        self.socket = folder / "redis.sock"
        self._binary = binary
        self.start()

    def start(self) -> None:
        """Start and wait until it listens."""
        self.socket.unlink(missing_ok=True)
        command: list[str | Path] = [self._binary, "--port", "0", "--unixsocket", self.socket, "--save", ""]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        eventually(self.socket.exists)

    def kill(self) -> None:
        """End it as a crash would; its socket stays behind."""
        self.process.kill()
        self.process.wait(20)

    def restart(self) -> None:
        """Kill it, and have an empty one in its place."""
        self.kill()
        self.start()

    def flush(self) -> None:
        """Have it forget everything."""
        with Redis(unix_socket_path=str(self.socket)) as client:
            client.flushall()

    def freeze(self) -> None:
        """Have it answer nobody any more."""
        self.process.send_signal(signal.SIGSTOP)


DISTURBANCES: dict[str, Callable[[OutsideRedis], None]] = {
    "killed and back": OutsideRedis.restart,
    "killed for good": OutsideRedis.kill,
    "flushed": OutsideRedis.flush,
    "frozen": OutsideRedis.freeze,
}


@contextmanager
def outside_redis() -> Iterator[OutsideRedis]:
    """A running Redis, gone at the end."""
    binary = find_redis_binary()
    if binary is None:
        missing("no valkey-server or redis-server was found")
    assert binary is not None
    with tempfile.TemporaryDirectory(prefix="pm-") as folder:
        redis = OutsideRedis(Path(folder), binary)
        try:
            yield redis
        finally:
            redis.kill()


@quick_and_whole(ROUNDS)
def test_an_outside_redis_may_do_what_it_likes(server: ServerProcess, faults: FaultTable, rounds: int) -> None:
    with outside_redis() as redis:
        promises = Promises(server)
        promises.recover(PERPLEX_QUEUE__REDIS_URL=f"unix://{redis.socket}")
        for number in range(rounds):
            for place, (name, disturb) in enumerate(DISTURBANCES.items()):
                fault = faults.fault(f"outside Redis {name}")
                disturb(redis)
                fault.recovered(_pick_up_seconds(promises, number * len(DISTURBANCES) + place))
                promises.settle()
                promises.judge(fault)
                fault.rounds += 1
                redis.restart()
        promises.require_kept(fault)


@quick_and_whole(ROUNDS)
def test_the_private_redis_is_replaced_and_missed_by_nobody(
    server: ServerProcess, faults: FaultTable, rounds: int
) -> None:
    promises = Promises(server)
    promises.recover()
    for number in range(rounds):
        for place, kind in enumerate((signal.SIGKILL, signal.SIGSTOP)):
            fault = faults.fault(f"private Redis child, {kind.name}")
            child = _redis_child(server)
            child.send_signal(kind)
            fault.recovered(_pick_up_seconds(promises, 2 * number + place))
            promises.settle()
            promises.judge(fault)
            fault.rounds += 1
            if number == 0 and kind == signal.SIGSTOP and rounds == 1:
                continue  # its replacement takes 15 seconds by design; the long run waits for it
            psutil.wait_procs([child], timeout=REPLACED_SECONDS)
            eventually(lambda: _queue(server)["status"] == "ok", REPLACED_SECONDS)
    promises.require_kept(fault)


def test_without_any_redis_everything_works_and_is_said_to_be_degraded(
    server: ServerProcess, faults: FaultTable
) -> None:
    fault = faults.fault("no Redis at all")
    promises = Promises(server)
    promises.recover(PERPLEX_QUEUE__EMBEDDED_REDIS="false")
    fault.recovered(_pick_up_seconds(promises, 0))
    assert httpx.get(f"{server.url}/ready", timeout=10).json()["status"] == "degraded"
    assert "switched off" in _queue(server)["reason"]
    fault.rounds += 1
    promises.require_kept(fault)


def _pick_up_seconds(promises: Promises, number: int) -> float:
    """Upload something new; how long until work on it began, by the server's clock."""
    url = f"{promises.server.url}/api/v1/operations/{promises.upload(text_file(number))}"
    eventually(lambda: httpx.get(url, timeout=10).json()["started_at"] is not None)
    operation = httpx.get(url, timeout=10).json()
    created, started = (datetime.fromisoformat(operation[name]) for name in ("created_at", "started_at"))
    return (started - created).total_seconds()


def _redis_child(server: ServerProcess) -> psutil.Process:
    family = psutil.Process(server.pid).children(recursive=True)
    (child,) = [process for process in family if any(name in process.name() for name in ("redis", "valkey"))]
    return child


def _queue(server: ServerProcess) -> dict[str, str]:
    component: dict[str, str] = httpx.get(f"{server.url}/ready", timeout=10).json()["components"]["queue"]
    return component
