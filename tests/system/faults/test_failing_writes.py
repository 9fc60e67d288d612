"""A disk that fails: while fsync, or every change of a file, ends in an error, nothing is acknowledged and lost."""

import random
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import pytest

from tests.server_process import ServerProcess
from tests.system.faults.means import missing, quick_and_whole
from tests.system.faults.promises import Promises, eventually
from tests.system.faults.samples import Sample, mixed
from tests.system.faults.table import FaultTable

# What SQLite, Lance and the folder of originals do to files; plain write() is left, for sockets and logs need it too.
CHANGES = "pwrite64,ftruncate,rename,renameat,renameat2,link,linkat,fsync,fdatasync"
FAILURES = {"fsync fails (EIO)": ("fsync,fdatasync", "EIO"), "read-only while it runs (EROFS)": (CHANGES, "EROFS")}
ROUNDS = 10


@contextmanager
def failing_calls(pid: int, calls: str, error: str, trace: Path) -> Iterator[None]:
    """Inside the block these system calls of the process and all its threads fail with that error."""
    strace = shutil.which("strace")
    if strace is None:
        missing("strace is not installed")
    command = [str(strace), "-f", "-q", "-o", str(trace), "-e", f"trace={calls}"]
    command += ["-e", f"inject={calls}:error={error}", "-p", str(pid)]
    tracer = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        eventually(lambda: tracer.poll() is not None or _is_traced(pid))
        if tracer.poll() is not None:
            assert tracer.stderr is not None
            missing(f"strace may not trace here: {tracer.stderr.read().strip()}")
        yield
    finally:
        tracer.send_signal(signal.SIGINT)
        tracer.wait(20)


@quick_and_whole(ROUNDS)
@pytest.mark.parametrize("name", FAILURES)
def test_what_is_acknowledged_while_the_disk_fails_is_kept(
    tmp_path: Path, server: ServerProcess, faults: FaultTable, name: str, rounds: int
) -> None:
    fault, chance, fresh = faults.fault(name), random.Random(5), mixed(2)
    promises = Promises(server)
    promises.recover()
    promises.upload(next(fresh))
    promises.settle()
    refused = 0
    for _ in range(rounds):
        promises.upload(next(fresh), next(fresh))
        time.sleep(chance.uniform(0, 1))
        with failing_calls(server.pid, *FAILURES[name], tmp_path / "trace"):
            refused += not _uploaded(promises, next(fresh))
            promises.judge_ready(fault)
            time.sleep(chance.uniform(0, 3))
        assert "INJECTED" in (tmp_path / "trace").read_text(), "no call failed: the test is at fault"
        eventually(lambda: _uploaded(promises, next(fresh)))
        promises.settle()
        promises.judge(fault)
        fault.rounds += 1
    assert refused == rounds
    server.kill()
    fault.recovered(promises.recover())
    promises.require_kept(fault)


def _uploaded(promises: Promises, sample: Sample) -> bool:
    """Whether the server took it; refusals must be errors of the server's, in the form it promises."""
    files = [("files", (sample.name, sample.content))]
    url = f"{promises.server.url}/api/v1/collections/default/documents"
    promises.unsure[sample.name] = sample
    answer = httpx.post(url, files=files, timeout=60)
    if answer.status_code == 202:
        promises.kept[sample.name] = promises.unsure.pop(sample.name)
        return True
    assert answer.status_code in (500, 503, 507), answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    return False


def _is_traced(pid: int) -> bool:
    """Whether all threads have their tracer."""
    for path in Path(f"/proc/{pid}/task").glob("*/status"):
        with suppress(FileNotFoundError, ProcessLookupError):  # the thread has ended meanwhile
            if "TracerPid:\t0\n" in path.read_text():
                return False
    return True
