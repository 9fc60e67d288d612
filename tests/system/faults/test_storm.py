"""After a storm of uploads, searches and sockets the server gives its memory back."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import islice

import httpx
import psutil
import pytest
from websockets.sync.client import connect

from benchmarks.process_memory import tree_bytes
from tests.server_process import ServerProcess
from tests.system.faults.promises import Promises
from tests.system.faults.samples import Sample, mixed
from tests.system.faults.table import FaultTable

WARM_UP, STORM = 12, 120
PAGES_EACH = 5
CLIENTS, SOCKETS = 16, 100
SETTLE_SECONDS = 60.0
MAX_GROWTH = 1.2
ROOM = {"PERPLEX_LIMITS__SOCKETS_PER_USER": "1000"}


@pytest.mark.faults
@pytest.mark.timeout(3600)
def test_memory_returns_after_a_storm(server: ServerProcess, faults: FaultTable) -> None:
    """Before is after a first small ingest, for until then neither models nor readers are there."""
    fault, promises, fresh = faults.fault("storm of uploads, searches and sockets"), Promises(server), mixed(PAGES_EACH)
    promises.recover(**ROOM)
    promises.upload(*islice(fresh, WARM_UP))
    promises.settle()
    before, handles, threads = _settled(server)
    began = time.monotonic()
    highest = _storm(promises, fresh)
    promises.settle(1800)
    after, handles_after, threads_after = _settled(server)
    fault.rounds += 1
    fault.note = (
        f"{STORM * PAGES_EACH} pages, {CLIENTS} clients, {SOCKETS} sockets in {time.monotonic() - began:.0f} s: memory"
        f" {before / 1e6:.0f} MB before, {highest / 1e6:.0f} at most, {after / 1e6:.0f} after;"
        f" handles {handles} and {handles_after}, threads {threads} and {threads_after}"
    )
    assert after <= before * MAX_GROWTH, fault.note
    promises.require_kept(fault)


def _storm(promises: Promises, fresh: Iterator[Sample]) -> int:
    """Everything at once until all is uploaded; the most memory that was seen."""
    over = threading.Event()
    highest = 0
    address = f"ws://127.0.0.1:{promises.server.port}/ws/operations"
    with ExitStack() as stack, ThreadPoolExecutor(CLIENTS) as pool:
        for _ in range(SOCKETS):
            stack.enter_context(connect(address))
        searching = [pool.submit(_search_until, promises.server.url, over) for _ in range(CLIENTS)]
        for _ in range(STORM):
            promises.upload(next(fresh))
            highest = max(highest, tree_bytes(promises.server.pid))
        over.set()
        for each in searching:
            each.result()
    return highest


def _search_until(url: str, over: threading.Event) -> None:
    with httpx.Client(base_url=url, timeout=60) as client:
        number = 0
        while not over.is_set():
            number += 1
            answer = client.post("/api/v1/search", json={"query": f"the keeper counted {number} ships", "limit": 50})
            assert answer.status_code in (200, 429, 503), answer.text


def _settled(server: ServerProcess) -> tuple[int, int, int]:
    """Memory of the family, handles and threads of the server, when it has had time to put things away."""
    time.sleep(SETTLE_SECONDS)
    process = psutil.Process(server.pid)
    return tree_bytes(server.pid), process.num_fds(), process.num_threads()
