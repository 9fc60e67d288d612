"""kill -9 at any moment of an ingest of text and scans: nothing is lost, nothing twice, next to no OCR done again."""

import json
import os
import random
import shutil
import sys
import threading
import time
from collections import Counter
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from itertools import islice
from math import ceil
from pathlib import Path
from statistics import median

import httpx
import pytest

from benchmarks.report import ROOT
from perplex_mono.inference.memory import usable_cores
from tests.server_process import ServerProcess
from tests.system.faults.counting_server import FILE_VARIABLE
from tests.system.faults.promises import Promises, require_sound
from tests.system.faults.samples import Sample, mixed
from tests.system.faults.table import Fault, FaultTable

FAILPOINTS = ("after_blob_rename", "after_commit", "before_lance_commit", "after_lance_commit", "before_ready")
NAME = "kill -9 at random times during an ingest"
WHOLE_SECONDS = 6600.0
EXAMINE_EVERY = 20
LEAD_SECONDS = 1.0
SEARCHED_EACH = 3
KILLS_FOR_SHARES = 20


@dataclass(frozen=True)
class Plan:
    """So many kills, one document of so many pages for each, and as many seconds between them as `apart` says."""

    kills: int
    pages_each: int
    apart: tuple[float, float]
    seed: int = 7


@dataclass
class Run:
    """How far a run is; kept in a file after every kill, so that an interrupted one goes on where it was."""

    kills: int = 0
    kept: list[int] = field(default_factory=list)
    deleted: list[int] = field(default_factory=list)
    unsure: list[int] = field(default_factory=list)
    at_failpoints: int = 0
    at_work: int = 0
    blamed: int = 0
    worst_repeated: int = 0
    recoveries: list[float] = field(default_factory=list)


QUICK = Plan(kills=2, pages_each=6, apart=(2.0, 4.0))
WHOLE = Plan(kills=200, pages_each=5, apart=(2.0, 20.0))


def test_a_few_random_kills(tmp_path: Path, faults: FaultTable) -> None:
    _kill_and_judge(QUICK, tmp_path, faults.fault(NAME))


@pytest.mark.faults
@pytest.mark.timeout(2 * 3600)
def test_two_hundred_random_kills_during_a_thousand_pages(faults: FaultTable, pytestconfig: pytest.Config) -> None:
    """Interrupted, it goes on at the next call. Its folder goes when all is well, and stays to be looked at if not."""
    folder = ROOT / "benchmarks" / "results" / "random-kills"
    folder.mkdir(parents=True, exist_ok=True)
    fault = faults.fault(NAME)
    _kill_and_judge(replace(WHOLE, kills=pytestconfig.getoption("kills", default=WHOLE.kills)), folder, fault)
    shutil.rmtree(folder)


def _kill_and_judge(plan: Plan, folder: Path, fault: Fault) -> None:
    begun = folder / "begun-pages"
    environment = {
        FILE_VARIABLE: str(begun),
        "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]),
        "PERPLEX_LIMITS__REQUESTS_PER_MINUTE_USER": "1000000",
    }
    server = ServerProcess(folder, environment, module="tests.system.faults.counting_server")
    killing = _Killing(plan, folder, server, fault)
    try:
        killing.go_on(time.monotonic() + WHOLE_SECONDS)
        killing.judge()
        assert begun.is_file()
    finally:
        if not server.ended():
            server.kill()


class _Killing:
    """A run of the plan on one data directory."""

    def __init__(self, plan: Plan, folder: Path, server: ServerProcess, fault: Fault) -> None:
        self._plan = plan
        self._fault = fault
        self._file = folder / "run.json"
        self._begun = folder / "begun-pages"
        self._samples = list(islice(mixed(plan.pages_each), plan.kills))
        self._run = Run(**json.loads(self._file.read_text())) if self._file.is_file() else Run()
        self._server = server
        self._promises = Promises(server)
        self._deaths = 1
        for remembered, numbers in (
            (self._promises.kept, self._run.kept),
            (self._promises.deleted, self._run.deleted),
            (self._promises.unsure, self._run.unsure),
        ):
            remembered |= {self._samples[number].name: self._samples[number] for number in numbers}

    def go_on(self, deadline: float) -> None:
        """Kill until the plan is done or the time is up."""
        self._promises.recover()
        while self._run.kills < self._plan.kills and time.monotonic() < deadline:
            before = self._repeated()
            self._one_kill()
            self._run.worst_repeated = max(self._run.worst_repeated, ceil((self._repeated() - before) / self._deaths))
            self._remember()

    def judge(self) -> None:
        """Let everything end, and hold the run against what was promised."""
        fault = self._fault
        self._promises.settle(1800)
        self._retry_blamed()
        fault.rounds += self._run.kills
        fault.repeated_pages = (fault.repeated_pages or 0) + self._repeated()
        for seconds in self._run.recoveries:
            fault.recovered(seconds)
        pages = sum(len(sample.words) for sample in self._promises.kept.values())
        fault.note = (
            f"median recovery {median(self._run.recoveries):.1f} s; {pages} pages at the end;"
            f" {self._run.at_work} kills met work, {self._run.at_failpoints} of them at failpoints;"
            f" at most {self._run.worst_repeated} pages begun again for a kill;"
            f" {self._run.blamed} documents blamed and retried"
        )
        self._promises.require_kept(fault)
        # Each thread of OCR has a page in hand, and rarely one more that was read is not on the disk yet.
        assert self._run.worst_repeated <= usable_cores() + 1
        if self._run.kills >= KILLS_FOR_SHARES:
            assert self._run.at_work >= self._run.kills / 2, "too many kills met an idle server to prove anything"

    def _one_kill(self) -> None:
        """An upload after a while, and a kill while it is worked at, at a failpoint if one comes first; start again."""
        self._deaths = 1
        number, chance = self._run.kills, random.Random(f"{self._plan.seed}-{self._run.kills}")
        end = time.monotonic() + chance.uniform(*self._plan.apart)
        self._sleep_until(end - chance.uniform(0, LEAD_SECONDS))
        if not self._server.ended():
            if chance.random() < 0.25:
                self._kill_during_upload(number, chance.uniform(0, 0.1))
            else:
                self._say(number)
                self._sleep_until(end)
                self._kill()
        else:
            self._note_failpoint()
        armed = {"PERPLEX_FAILPOINT": f"{chance.choice(FAILPOINTS)}:{chance.choice((1, 1, 2))}"}
        self._run.kills += 1
        if self._run.kills % EXAMINE_EVERY == 0:
            require_sound(self._server)
        self._restart(armed if chance.random() < 0.3 else {})
        with suppress(httpx.TransportError):  # it may meet its failpoint meanwhile, which the next round notices
            for sample in chance.sample(ready := self._ready(), min(SEARCHED_EACH, len(ready))):
                self._promises.judge_sample(sample, self._fault)
        assert (self._fault.lost, self._fault.duplicated) == (0, 0), self._server.log()[-3000:]

    def _kill(self) -> None:
        with suppress(httpx.TransportError):
            running = httpx.get(f"{self._server.url}/api/v1/operations", params={"state": "running"}, timeout=30)
            self._run.at_work += bool(running.json()["items"])
            self._server.kill()
            return
        self._server.wait_end()
        self._note_failpoint()

    def _kill_during_upload(self, number: int, seconds: float) -> None:
        killer = threading.Timer(seconds, self._server.kill)
        killer.start()
        self._say(number)
        killer.join()
        self._run.at_work += 1

    def _note_failpoint(self) -> None:
        self._run.at_failpoints += 1
        self._run.at_work += 1

    def _restart(self, armed: dict[str, str]) -> None:
        """Start; a failpoint may kill it while it recovers, and then it starts again unarmed."""
        try:
            seconds = self._promises.recover(**armed)
        except (AssertionError, httpx.TransportError):
            if not armed:
                raise
            self._server.wait_end()
            self._deaths += 1
            self._note_failpoint()
            seconds = self._promises.recover()
        self._run.recoveries.append(seconds)

    def _say(self, number: int) -> None:
        """Upload this round's document, and now and then delete an earlier one."""
        try:
            self._promises.upload(self._samples[number])
            if number % 10 == 9:
                self._delete(self._ready()[0])
        except (httpx.TransportError, AssertionError):
            if not self._server.ended():
                time.sleep(0.5)  # the kill is on its way
            assert self._server.ended()

    def _delete(self, sample: Sample) -> None:
        """Nobody may be sure of it from here on, an interrupted run's successor included."""
        self._promises.unsure[sample.name] = self._promises.kept.pop(sample.name)
        self._remember()
        self._promises.delete(sample)

    def _ready(self) -> list[Sample]:
        ready = {document["name"] for document in self._promises.documents() if document["status"] == "ready"}
        return [sample for name, sample in self._promises.kept.items() if name in ready]

    def _sleep_until(self, end: float) -> None:
        while time.monotonic() < end and not self._server.ended():
            time.sleep(0.05)

    def _retry_blamed(self) -> None:
        """A document in flight at three kills in a row fails with that reason, as promised; a retry brings it in."""
        for document in list(self._promises.documents()):
            if document["status"] == "failed":
                assert "server ended" in document["failure"]["message"], document
                self._run.blamed += 1
                url = f"{self._server.url}/api/v1/documents/{document['id']}/retry"
                assert httpx.post(url, timeout=30).status_code == 202
        self._promises.settle()

    def _repeated(self) -> int:
        if not self._begun.is_file():
            return 0
        times = Counter(self._begun.read_text().split())
        return sum(times.values()) - len(times)

    def _remember(self) -> None:
        numbers = {sample.name: number for number, sample in enumerate(self._samples)}
        self._run.kept = [numbers[name] for name in self._promises.kept]
        self._run.deleted = [numbers[name] for name in self._promises.deleted]
        self._run.unsure = [numbers[name] for name in self._promises.unsure]
        fresh = self._file.with_suffix(".new")
        fresh.write_text(json.dumps(asdict(self._run)))
        fresh.replace(self._file)
