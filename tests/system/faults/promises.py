"""What a server acknowledged, and whether it kept it: the judgement after every fault."""

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import httpx
import psutil

from tests.server_process import ServerProcess
from tests.system.faults.samples import Sample
from tests.system.faults.table import Fault

FINAL_STATES = ("completed", "failed", "dead", "cancelled")
NEEDED = ("database", "vectors", "embedding", "ocr", "readers", "index", "dispatcher")
WORK_GOES_ON = ("page_done", "document_done", "document_failed")
RECOVERY_LIMIT_SECONDS = 120.0
POLL_SECONDS = 0.1
HITS = 20
UNCLAIMED_FILE = "no document refers to it"


class Promises:
    """Uploads and deletes, remembering what was acknowledged; a request that broke off promised nothing."""

    def __init__(self, server: ServerProcess) -> None:
        self.server = server
        self.kept: dict[str, Sample] = {}
        self.deleted: dict[str, Sample] = {}
        self.unsure: dict[str, Sample] = {}

    def upload(self, *samples: Sample) -> str:
        """Upload in one request; the operation's id. What the server does not answer stays unsure."""
        self.unsure |= {sample.name: sample for sample in samples}
        accepted = self.server.upload(*[(sample.name, sample.content) for sample in samples])
        for sample in samples:
            self.kept[sample.name] = self.unsure.pop(sample.name)
        return str(accepted["operation_id"])

    def delete(self, sample: Sample) -> str:
        """Delete a document that is there; the operation's id."""
        self.unsure[sample.name] = self.kept.pop(sample.name, sample)
        (document,) = [document for document in self.documents() if document["name"] == sample.name]
        answer = httpx.delete(f"{self.server.url}/api/v1/documents/{document['id']}", timeout=30)
        assert answer.status_code == 202, answer.text
        self.deleted[sample.name] = self.unsure.pop(sample.name)
        return str(answer.json()["operation_id"])

    def documents(self) -> Iterator[dict[str, Any]]:
        """All documents of the default collection."""
        return self._all("collections/default/documents")

    def operations(self) -> list[dict[str, Any]]:
        """All operations."""
        return list(self._all("operations"))

    def unfinished(self) -> list[str]:
        """Operations that are not final."""
        return [operation["id"] for operation in self.operations() if operation["state"] not in FINAL_STATES]

    def settle(self, seconds: float = 300.0) -> None:
        """Wait until every operation is final."""
        deadline = time.monotonic() + seconds
        while waiting := self.unfinished():
            self.server.wait_operation(waiting[-1], max(1.0, deadline - time.monotonic()))

    def recover(self, **environment: str) -> float:
        """Start the server; seconds from there until all it needs is well and work that was left goes on."""
        began, clock = time.monotonic(), datetime.now(UTC)
        self.server.start(**environment)
        eventually(self._is_well, RECOVERY_LIMIT_SECONDS)
        eventually(lambda: self._is_working_since(clock), RECOVERY_LIMIT_SECONDS)
        return time.monotonic() - began

    def judge_ready(self, fault: Fault) -> None:
        """Search for the words of those that are ready, whatever has become of the others."""
        ready = {document["name"] for document in self.documents() if document["status"] == "ready"}
        for name in ready & self.kept.keys():
            self.judge_sample(self.kept[name], fault)

    def judge(self, fault: Fault) -> None:
        """Search for every word there is, and count into the line of the table what is not as promised."""
        for sample in self.kept.values():
            self.judge_sample(sample, fault)
        for sample in self.deleted.values():
            fault.lost += sum(self.names_found(word) != [] for word in sample.words)
        for sample in self.unsure.values():
            fault.duplicated += sum(len(self.names_found(word)) > 1 for word in sample.words)
        names = [document["name"] for document in self.documents()]
        fault.duplicated += len(names) - len(set(names))

    def judge_sample(self, sample: Sample, fault: Fault) -> None:
        """As `judge`, for one document that must be there."""
        for word in sample.words:
            found = self.names_found(word)
            fault.lost += sample.name not in found
            fault.duplicated += len(found) > 1

    def names_found(self, word: str) -> list[str]:
        """The documents of all passages with the word."""
        return [hit["document"]["name"] for hit in self.server.search(word, mode="sparse", limit=HITS)["hits"]]

    def require_kept(self, fault: Fault) -> None:
        """Everything final and as promised; then stop, and nothing is left that the doctor or the system minds."""
        self.settle()
        self.judge(fault)
        assert (fault.lost, fault.duplicated) == (0, 0), self.server.log()[-3000:]
        statuses = {document["name"]: document["status"] for document in self.documents()}
        assert {statuses[name] for name in self.kept} <= {"ready"}, statuses
        family = psutil.Process(self.server.pid).children(recursive=True)
        assert self.server.stop() == 0
        require_sound(self.server)
        require_tidy(self.server)
        _, alive = psutil.wait_procs(family, timeout=10)
        assert alive == []

    def event_types(self, operation_id: str) -> set[str]:
        """What has happened to the operation."""
        return {event["type"] for event in self._events(operation_id)}

    def _is_well(self) -> bool:
        try:
            components = httpx.get(f"{self.server.url}/ready", timeout=10).json()["components"]
        except httpx.TransportError:
            assert not self.server.ended(), self.server.log()[-3000:]
            return False
        return all(components[name]["status"] == "ok" for name in NEEDED)

    def _is_working_since(self, clock: datetime) -> bool:
        waiting = self.unfinished()
        return not waiting or any(self._has_worked(operation_id, clock) for operation_id in waiting)

    def _has_worked(self, operation_id: str, clock: datetime) -> bool:
        news = (event for event in self._events(operation_id) if datetime.fromisoformat(event["time"]) > clock)
        return any(event["type"] in WORK_GOES_ON for event in news)

    def _events(self, operation_id: str) -> Iterator[dict[str, Any]]:
        url, after = f"{self.server.url}/api/v1/operations/{operation_id}/events", 0
        while events := httpx.get(url, params={"after": after}, timeout=30).json()["items"]:
            yield from events
            after = events[-1]["seq"]

    def _all(self, path: str) -> Iterator[dict[str, Any]]:
        cursor: dict[str, str] = {}
        while True:
            answer = httpx.get(f"{self.server.url}/api/v1/{path}", params={"limit": "200", **cursor}, timeout=30)
            assert answer.status_code == 200, answer.text
            page = answer.json()
            yield from page["items"]
            if page["next_cursor"] is None:
                return
            cursor = {"cursor": page["next_cursor"]}


def eventually(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    """Wait until it holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds:g} s"
        time.sleep(POLL_SECONDS)


def require_sound(server: ServerProcess) -> None:
    """The doctor finds nothing in the data of a server that was stopped or killed.

    One thing is allowed: the whole file of an upload that was never answered, killed between the file and its row.
    """
    findings = [finding for finding in server.examine()["findings"] if finding["problem"] != UNCLAIMED_FILE]
    assert findings == [], findings


def require_tidy(server: ServerProcess) -> None:
    """A stopped server has left no temporary file of an upload."""
    leftovers = list((server.data / "blobs" / "incoming").iterdir())
    assert leftovers == [], leftovers
