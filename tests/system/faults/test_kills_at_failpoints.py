"""kill -9 at the worst moments: after the restart everything acknowledged is searchable, exactly once."""

import random
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

import perplex_mono
from tests.server_process import ServerProcess
from tests.system.faults.promises import Promises, require_sound
from tests.system.faults.samples import Sample, own_word, page_text, text_file, text_pdf
from tests.system.faults.table import FaultTable

FAILPOINTS = (
    "after_blob_rename",
    "after_commit",
    "before_lance_commit",
    "after_lance_commit",
    "before_ready",
    "mid_delete",
)
# test_reindex_kills.py, test_scan_kills.py, test_backup_kills.py and test_migration_kills.py die at these
OTHER_FAILPOINTS = (
    "before_reindex_commit",
    "before_switch",
    "after_switch",
    "after_scan_blobs",
    "after_scan_batch",
    "mid_backup",
    "before_restore_swap",
    "mid_restore_swap",
    "mid_migration",
    "before_database_rewritten",
)
MAX_STEPS = 4
LONG_DOCUMENTS = 10
CHAPTERS = 60


def test_every_failpoint_of_the_product_is_killed_at() -> None:
    package = Path(perplex_mono.__file__).parent
    folders = (package, package.parents[1] / "migrations")
    sources = [path.read_text(encoding="utf-8") for folder in folders for path in folder.rglob("*.py")]
    known = {name for source in sources for name in re.findall(r'\bfailpoint\("(\w+)"\)', source)}
    assert {*FAILPOINTS, *OTHER_FAILPOINTS} == known


@pytest.mark.parametrize(
    "passages", [[1], pytest.param([1, 2, 3], marks=[pytest.mark.faults, pytest.mark.timeout(1800)])]
)
def test_everything_acknowledged_is_found_once_after_a_kill(
    server: ServerProcess, faults: FaultTable, passages: Sequence[int]
) -> None:
    fault = faults.fault("kill -9 at each failpoint")
    promises, fresh = Promises(server), _texts()
    for failpoint in FAILPOINTS:
        for passage in passages:
            server.start(PERPLEX_FAILPOINT=f"{failpoint}:{passage}")
            _work_until_it_dies(promises, failpoint, fresh)
            fault.recovered(promises.recover())
            promises.settle()
            promises.judge(fault)
            fault.rounds += 1
            server.kill()
            if len(passages) > 1 or failpoint == FAILPOINTS[-1]:  # the short run has the doctor once, at the end
                require_sound(server)
    assert (fault.lost, fault.duplicated) == (0, 0)


@pytest.mark.faults
@pytest.mark.timeout(1800)
def test_a_kill_in_the_middle_of_a_long_document_keeps_its_pages(server: ServerProcess, faults: FaultTable) -> None:
    fault = faults.fault("kill -9 in the middle of a long document")
    promises, chance = Promises(server), random.Random(1)
    server.start()
    server.wait_ready()
    for number in range(LONG_DOCUMENTS):
        promises.upload(_long_document(number))
        with suppress(AssertionError):  # it is too early for the operation to be final: that is the point
            server.wait_operation(promises.unfinished()[0], chance.uniform(0.1, 1.5))
        server.kill()
        fault.recovered(promises.recover())
        promises.settle()
        fault.rounds += 1
    promises.require_kept(fault)


def _work_until_it_dies(promises: Promises, failpoint: str, fresh: Iterator[Sample]) -> None:
    """Upload documents two at a time, or delete one where that is what dies; one step after the other."""
    for _ in range(MAX_STEPS):
        try:
            if failpoint == "mid_delete":
                operation = promises.delete(next(iter(promises.kept.values())))
            else:
                operation = promises.upload(next(fresh), next(fresh))
            promises.server.wait_operation(operation)
        except (httpx.TransportError, AssertionError):
            break
    assert promises.server.wait_end() == -9


def _texts() -> Iterator[Sample]:
    """Single pages and PDFs of three by turns."""
    for number in range(0, 100_000, 4):
        yield text_file(number)
        yield text_pdf(number + 1, 3)


def _long_document(number: int) -> Sample:
    words = tuple(own_word(100_000 + CHAPTERS * number + chapter) for chapter in range(CHAPTERS))
    text = "\n\n".join(f"# Chapter\n\n{page_text(word)} {'Words. ' * 900}" for word in words)
    return Sample(f"long-{number}.md", text.encode(), words)
