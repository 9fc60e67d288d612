"""Pause and cancel in the middle of a scan of a thousand pages: both hold at once, and no page is begun after that."""

import os
import sys
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import httpx
import pytest

from benchmarks.report import ROOT
from perplex_mono.inference.memory import usable_cores
from tests.figures import parse, value
from tests.server_process import ServerProcess
from tests.system.faults.counting_server import FILE_VARIABLE
from tests.system.faults.promises import Promises, eventually
from tests.system.faults.samples import Sample, scanned_pdf
from tests.system.faults.table import FaultTable

PAGES = 1000
FIRST_PAGES = 4
STOP_LIMIT_SECONDS = 10.0
WHOLE = [pytest.mark.faults, pytest.mark.timeout(3600)]


@pytest.fixture
def begun(tmp_path: Path) -> Path:
    """The file that has a line for each page that OCR began."""
    return tmp_path / "begun-pages"


@pytest.fixture
def server(tmp_path: Path, begun: Path) -> Iterator[ServerProcess]:
    """A server that writes down the pages it begins; gone at the end, whatever happened."""
    environment = {
        FILE_VARIABLE: str(begun),
        "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]),
        "PERPLEX_LIMITS__REQUESTS_PER_MINUTE_USER": "1000000",
    }
    process = ServerProcess(tmp_path, environment, module="tests.system.faults.counting_server")
    yield process
    if not process.ended():
        process.kill()


class LongScan:
    """A scan that was uploaded, steered by its owner."""

    def __init__(self, server: ServerProcess, sample: Sample, begun: Path) -> None:
        self._server = server
        self._begun = begun
        accepted = server.upload((sample.name, sample.content))
        self._operation = f"{server.url}/api/v1/operations/{accepted['operation_id']}"
        self.document = f"{server.url}/api/v1/documents/{accepted['documents'][0]['id']}"

    def say(self, word: str) -> None:
        """Pause, resume or cancel it."""
        answer = httpx.post(f"{self._operation}/{word}", timeout=30)
        assert answer.status_code == 200, answer.text

    def stop(self, word: str, state: str) -> float:
        """Say so, and wait until it is in that state and nobody works at it; seconds until then."""
        began = time.monotonic()
        self.say(word)
        eventually(lambda: self.state() == state and not self._is_worked_at(), STOP_LIMIT_SECONDS)
        return time.monotonic() - began

    def state(self) -> str:
        """Its state, as the API says."""
        return str(httpx.get(self._operation, timeout=10).json()["state"])

    def read_on(self) -> None:
        """Wait until OCR has begun a few pages more."""
        before = len(self.pages_begun())
        eventually(lambda: len(self.pages_begun()) >= before + FIRST_PAGES, 120.0)

    def pages_begun(self) -> list[str]:
        """Every page that OCR began, of any document, as often as it did."""
        return self._begun.read_text().splitlines() if self._begun.is_file() else []

    def _is_worked_at(self) -> bool:
        return value(parse(httpx.get(f"{self._server.url}/metrics", timeout=10).text), "operations_running") > 0


@pytest.mark.parametrize("rounds", [1, pytest.param(10, marks=WHOLE)])
def test_a_scan_of_a_thousand_pages_is_paused_and_cancelled_at_once(
    server: ServerProcess, faults: FaultTable, begun: Path, rounds: int
) -> None:
    fault, promises = faults.fault("pause and cancel in a scan of 1,000 pages"), Promises(server)
    promises.recover()
    slowest = {"pause": 0.0, "cancel": 0.0}
    numbers = count(0, PAGES)
    for _ in range(rounds):
        long = scanned_pdf(next(numbers), PAGES)
        scan = LongScan(server, long, begun)
        for word, state in (("pause", "paused"), ("cancel", "cancelled")):
            scan.read_on()
            slowest[word] = max(slowest[word], scan.stop(word, state))
            before = len(scan.pages_begun())
            _read_another(promises, scanned_pdf(next(numbers), 1))
            assert len(scan.pages_begun()) == before + 1, "only the page of the other document was begun"
            assert scan.state() == state
            if word == "pause":
                scan.say("resume")
        _require_gone(scan, promises, long)
        fault.rounds += 1
        fault.repeated_pages = len(scan.pages_begun()) - len(set(scan.pages_begun()))
        assert fault.repeated_pages <= fault.rounds * usable_cores(), "a pause costs what each thread has in hand"
    fault.note = f"stopped {slowest['pause']:.1f} s after a pause and {slowest['cancel']:.1f} s after a cancel, at most"
    promises.require_kept(fault)


def _read_another(promises: Promises, sample: Sample) -> None:
    """Have OCR read another document to its end, so that it would have come to more pages of the scan, too."""
    finished = promises.server.wait_operation(promises.upload(sample))
    assert finished["state"] == "completed"


def _require_gone(scan: LongScan, promises: Promises, sample: Sample) -> None:
    """Nothing that was read of it is left."""
    assert httpx.get(scan.document, timeout=10).json()["status"] == "cancelled"
    assert httpx.get(f"{scan.document}/pages/1", timeout=10).status_code == 404
    assert [promises.names_found(word) for word in sample.words[:FIRST_PAGES]] == [[]] * FIRST_PAGES
