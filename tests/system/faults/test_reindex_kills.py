"""kill -9 while a collection is indexed anew: searches find everything in one index or the other, and it goes on."""

from collections.abc import Sequence

import httpx
import pytest

from tests.server_process import ServerProcess
from tests.system.faults.promises import Promises, require_sound
from tests.system.faults.samples import text_file, text_pdf
from tests.system.faults.table import FaultTable

FAILPOINTS = ("before_reindex_commit", "after_lance_commit", "before_ready", "before_switch", "after_switch")
PASSAGES = {"before_reindex_commit": (1, 5), "before_switch": (1, 2)}
DOCUMENTS = 12


@pytest.mark.parametrize(
    "failpoints", [["before_switch"], pytest.param(FAILPOINTS, marks=[pytest.mark.faults, pytest.mark.timeout(1800)])]
)
def test_a_killed_reindexing_goes_on_and_everything_stays_found(
    server: ServerProcess, faults: FaultTable, failpoints: Sequence[str]
) -> None:
    fault = faults.fault("kill -9 while reindexing")
    promises = Promises(server)
    server.start()
    promises.upload(*(text_file(2 * number) for number in range(DOCUMENTS)))
    promises.upload(text_pdf(1000, 5))
    promises.settle()
    server.kill()
    tokens = 40
    for failpoint in failpoints:
        for passage in PASSAGES.get(failpoint, (1,)):
            tokens += 5  # never the same cut, so that there is something to embed
            server.start(PERPLEX_FAILPOINT=f"{failpoint}:{passage}")
            index_id = _reindex(server, tokens)
            assert server.wait_end() == -9
            fault.recovered(promises.recover())
            promises.judge(fault)  # while it goes on, too
            promises.settle()
            promises.judge(fault)
            assert _active_index(server) == index_id
            fault.rounds += 1
            server.kill()
            require_sound(server)
    assert (fault.lost, fault.duplicated) == (0, 0)


def _reindex(server: ServerProcess, max_tokens: int) -> str:
    chunking = {"chunking": {"max_tokens": max_tokens, "overlap_tokens": 0}}
    answer = httpx.post(f"{server.url}/api/v1/collections/default/reindex", json=chunking, timeout=60)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["index_id"])


def _active_index(server: ServerProcess) -> str:
    return str(httpx.get(f"{server.url}/api/v1/collections/default", timeout=30).json()["active_index_id"])
