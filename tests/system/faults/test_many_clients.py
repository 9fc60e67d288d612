"""Eight clients do everything at once to one document: every answer is an answer, and one whole document remains."""

import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.server_process import ServerProcess
from tests.system.faults.promises import Promises
from tests.system.faults.samples import Sample, text_pdf
from tests.system.faults.table import FaultTable

CLIENTS = 8
# Not there (any more), in another state, or too much at once: what a client is told who comes too late.
EXPECTED = (200, 202, 404, 409, 429, 503)
WHOLE = [pytest.mark.faults, pytest.mark.timeout(1800)]


class Client:
    """Does one thing after another to the document, whatever the others do."""

    def __init__(self, url: str, sample: Sample, seed: int) -> None:
        self._http = httpx.Client(base_url=f"{url}/api/v1", timeout=60)
        self._sample = sample
        self._chance = random.Random(seed)
        self.answers: dict[str, set[int]] = {}

    def work(self, seconds: float) -> None:
        """Go on for so long."""
        actions: list[Callable[[], httpx.Response]] = [
            self._upload,
            self._delete,
            self._retry,
            self._reindex,
            self._search,
            self._get,
        ]
        end = time.monotonic() + seconds
        with self._http:
            while time.monotonic() < end:
                action = self._chance.choice(actions)
                answer = action()
                self.answers.setdefault(action.__name__, set()).add(answer.status_code)
                assert answer.status_code in EXPECTED, answer.text

    def _upload(self) -> httpx.Response:
        files = [("files", (self._sample.name, self._sample.content))]
        return self._http.post("/collections/default/documents", files=files)

    def _delete(self) -> httpx.Response:
        return self._http.delete(f"/documents/{self._document_id()}")

    def _retry(self) -> httpx.Response:
        return self._http.post(f"/documents/{self._document_id()}/retry")

    def _reindex(self) -> httpx.Response:
        chunking = {"max_tokens": self._chance.randint(50, 90), "overlap_tokens": 0}  # a page stays one chunk
        return self._http.post("/collections/default/reindex", json={"chunking": chunking})

    def _get(self) -> httpx.Response:
        return self._http.get(f"/documents/{self._document_id()}/file")

    def _search(self) -> httpx.Response:
        answer = self._http.post("/search", json={"query": self._sample.words[0], "mode": "sparse"})
        if answer.status_code == 200:
            assert len(answer.json()["hits"]) <= 1
        return answer

    def _document_id(self) -> str:
        items = self._http.get("/collections/default/documents").json()["items"]
        return str(items[0]["id"]) if items else "0197a2b4-0000-7000-8000-000000000000"


@pytest.mark.parametrize("rounds", [1, pytest.param(20, marks=WHOLE)])
def test_eight_clients_on_one_document(server: ServerProcess, faults: FaultTable, rounds: int) -> None:
    fault, promises = faults.fault("eight clients on one document"), Promises(server)
    promises.recover()
    sample = text_pdf(1, 3)
    for number in range(rounds):
        clients = [Client(server.url, sample, seed=CLIENTS * number + place) for place in range(CLIENTS)]
        with ThreadPoolExecutor(CLIENTS) as pool:
            for working in [pool.submit(client.work, 5.0) for client in clients]:
                working.result()
        for action in ("_upload", "_delete", "_reindex"):
            assert any(202 in client.answers.get(action, ()) for client in clients), action
        promises.upload(sample)
        promises.settle()
        promises.judge(fault)
        fault.rounds += 1
    promises.require_kept(fault)
