"""A worker frozen past its lease, with everything it holds: thawed, it goes on, and nothing is done twice."""

import random
import signal
import time
from itertools import islice

import psutil
import pytest

from tests.server_process import ServerProcess
from tests.system.faults.means import quick_and_whole
from tests.system.faults.promises import Promises
from tests.system.faults.samples import mixed
from tests.system.faults.table import FaultTable

LEASE_SECONDS = 5
ROUNDS = 10


@quick_and_whole(ROUNDS)
@pytest.mark.parametrize("whole_family", [False, True], ids=["server", "server and children"])
def test_a_server_frozen_past_its_lease_goes_on(
    server: ServerProcess, faults: FaultTable, whole_family: bool, rounds: int
) -> None:
    fault, chance = faults.fault("frozen past its lease (SIGSTOP)"), random.Random(13)
    promises, fresh = Promises(server), mixed(4)
    promises.recover(PERPLEX_INGESTION__LEASE_SECONDS=str(LEASE_SECONDS))
    for _ in range(rounds):
        promises.upload(*islice(fresh, 3))
        time.sleep(chance.uniform(0, 2))
        frozen = [psutil.Process(server.pid)]
        frozen += frozen[0].children(recursive=True) if whole_family else []
        for process in frozen:
            process.send_signal(signal.SIGSTOP)
        time.sleep(LEASE_SECONDS + chance.uniform(0.5, 2))
        for process in frozen:
            process.send_signal(signal.SIGCONT)
        thawed = time.monotonic()
        promises.settle()
        fault.recovered(time.monotonic() - thawed)
        promises.judge(fault)
        fault.rounds += 1
    promises.require_kept(fault)
