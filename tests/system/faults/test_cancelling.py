"""Cancel at any step of an ingest on a real server: nothing partial is ever found, and a retry brings everything."""

import random
import time

import httpx

from tests.server_process import ServerProcess
from tests.system.faults.means import quick_and_whole
from tests.system.faults.promises import Promises
from tests.system.faults.samples import Sample, scanned_pdf, text_pdf
from tests.system.faults.table import Fault, FaultTable

PAGES = 3
ROUNDS = 200


@quick_and_whole(ROUNDS, quick=4)
def test_cancel_at_any_step_leaves_whole_documents_or_none(
    server: ServerProcess, faults: FaultTable, rounds: int
) -> None:
    fault, chance = faults.fault("cancel at any step"), random.Random(17)
    promises = Promises(server)
    promises.recover()
    for number in range(rounds):
        first = 2 * PAGES * number
        group = [text_pdf(first, PAGES), scanned_pdf(first + PAGES, PAGES)]
        url = f"{server.url}/api/v1/operations/{promises.upload(*group)}"
        time.sleep(chance.choice((0, chance.uniform(0, 0.3), chance.uniform(0, 3))))
        cancelled = httpx.post(f"{url}/cancel", timeout=30)
        assert cancelled.status_code in (200, 409), cancelled.text
        if cancelled.status_code == 200:
            _require_whole_or_nothing(promises, group, fault)
            assert httpx.post(f"{url}/retry", timeout=30).status_code == 200
        promises.settle()
        for sample in group:
            promises.judge_sample(sample, fault)
        fault.rounds += 1
    promises.require_kept(fault)


def _require_whole_or_nothing(promises: Promises, group: list[Sample], fault: Fault) -> None:
    statuses = {document["name"]: document["status"] for document in promises.documents()}
    for sample in group:
        assert statuses[sample.name] in ("ready", "cancelled")
        found = [promises.names_found(word) for word in sample.words]
        wanted = [sample.name] if statuses[sample.name] == "ready" else []
        fault.lost += sum(names != wanted for names in found)
