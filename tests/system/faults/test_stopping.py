"""SIGTERM in the middle of everything: work is put away, half-sent bodies are let go, and the process ends in time."""

import signal
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import islice

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from tests.server_process import ServerProcess
from tests.system.faults.means import quick_and_whole
from tests.system.faults.promises import Promises
from tests.system.faults.samples import mixed
from tests.system.faults.table import FaultTable

SOCKETS = 200
HALF_SENT = 20
ROOM = {"PERPLEX_LIMITS__SOCKETS_PER_USER": "1000", "PERPLEX_LIMITS__BODY_IDLE_SECONDS": "60"}


@quick_and_whole(5)
def test_sigterm_under_load_ends_well_and_in_time(server: ServerProcess, faults: FaultTable, rounds: int) -> None:
    fault, promises, fresh = faults.fault("SIGTERM under load"), Promises(server), mixed(5)
    slowest = 0.0
    for _ in range(rounds):
        fault.recovered(promises.recover(**ROOM))
        promises.upload(*islice(fresh, 4))
        with _half_sent_bodies(server), _open_sockets(server) as sockets:
            told = time.monotonic()
            server.signal(signal.SIGTERM)
            assert server.wait_end(90) == 0, server.log()[-3000:]
            slowest = max(slowest, time.monotonic() - told)
            assert {_close_code(each) for each in sockets} == {1012}
        fault.rounds += 1
    fault.note = f"{SOCKETS} sockets, {HALF_SENT} half-sent bodies, an ingest; slowest end {slowest:.1f} s"
    fault.recovered(promises.recover())
    promises.require_kept(fault)


@contextmanager
def _half_sent_bodies(server: ServerProcess) -> Iterator[None]:
    head = (
        "POST /api/v1/search HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n"
    )
    with ExitStack() as stack:
        for _ in range(HALF_SENT):
            client = stack.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=20))
            client.sendall(head.encode() + b'\r\n{"query": "ha')
        yield


@contextmanager
def _open_sockets(server: ServerProcess) -> Iterator[list[ClientConnection]]:
    address = f"ws://127.0.0.1:{server.port}/ws/operations"
    with ExitStack() as stack:
        yield [stack.enter_context(connect(address)) for _ in range(SOCKETS)]


def _close_code(client: ClientConnection) -> int | None:
    try:
        while True:
            client.recv(timeout=20)
    except ConnectionClosed as closed:
        return closed.rcvd.code if closed.rcvd is not None else None
