"""Files that crash, freeze or blow up their reader: each ends with a reason, and everything beside it goes on."""

import signal
from itertools import islice
from pathlib import Path

import httpx
import psutil
import pytest

from tests.documents import HELVETICA, raw_pdf, stream_bomb_pdf
from tests.server_process import ServerProcess
from tests.system.faults.means import quick_and_whole
from tests.system.faults.promises import Promises, eventually
from tests.system.faults.samples import mixed, scanned_pdf
from tests.system.faults.table import FaultTable

BOMB_BYTES = 3_000_000_000
LONG_PAGES = 16
LONG_FIRST = 400_000
ROUNDS = 3
NO_OPERATIONS = 50_000
READER = "perplex_mono.ingestion.readers.child"
PAGE_TIMEOUT_SECONDS = 20
TIGHT_LIMITS = {
    "PERPLEX_INGESTION__PAGE_TIMEOUT_SECONDS": str(PAGE_TIMEOUT_SECONDS),
    "PERPLEX_INGESTION__READER_MEMORY_BYTES": "300000000",
    "PERPLEX_INGESTION__LEASE_SECONDS": "5",
}


@quick_and_whole(5)
def test_a_poison_file_fails_alone(tmp_path: Path, server: ServerProcess, faults: FaultTable, rounds: int) -> None:
    promises, fresh = Promises(server), mixed(2)
    promises.recover(**TIGHT_LIMITS)
    poisons = {"memory": _memory_bomb(tmp_path / "bomb.pdf"), "timeout": _endless_loop(tmp_path / "endless.pdf")}
    for number in range(rounds):
        for code, path in poisons.items():
            fault = faults.fault(f"poison file, ends for {code}")
            poison = (f"{number}-{path.name}", path.read_bytes() + b"%% %d" % number)
            operation = server.upload(poison)["operation_id"]
            promises.upload(next(fresh), next(fresh))
            promises.settle()
            assert _failure(promises, operation)["code"] == code
            promises.judge(fault)
            fault.rounds += 1
    promises.require_kept(fault)


@quick_and_whole(ROUNDS)
@pytest.mark.parametrize(
    ("kind", "code", "reason"),
    [
        (signal.SIGSEGV, "internal", "SIGSEGV"),
        (signal.SIGSTOP, "timeout", f"Nothing came for {PAGE_TIMEOUT_SECONDS} seconds"),
    ],
)
def test_a_reader_that_dies_or_freezes_is_replaced(
    server: ServerProcess, faults: FaultTable, kind: signal.Signals, code: str, reason: str, rounds: int
) -> None:
    fault = faults.fault(f"reader child, {kind.name}")
    promises, fresh = Promises(server), mixed(2)
    promises.recover(**TIGHT_LIMITS)
    for number in range(rounds):
        operation = promises.upload(scanned_pdf(LONG_FIRST + LONG_PAGES * number, LONG_PAGES))
        eventually(lambda: "page_done" in promises.event_types(operation))  # noqa: B023  # called before it changes
        for reader in _readers(server):
            reader.send_signal(kind)
        promises.upload(*islice(fresh, 2))
        promises.settle()
        failure = _failure(promises, operation)
        assert (failure["code"], reason in failure["message"]) == (code, True), failure
        assert httpx.post(f"{server.url}/api/v1/operations/{operation}/retry", timeout=30).status_code == 200
        promises.settle()
        promises.judge(fault)
        fault.rounds += 1
    promises.require_kept(fault)


def _readers(server: ServerProcess) -> list[psutil.Process]:
    family = psutil.Process(server.pid).children(recursive=True)
    return [process for process in family if READER in process.cmdline()]


def _failure(promises: Promises, operation_id: str) -> dict[str, str]:
    """Why the one document of the operation failed."""
    (document,) = [document for document in promises.documents() if document["operation_id"] == operation_id]
    assert document["status"] == "failed", document
    failure: dict[str, str] = document["failure"]
    return failure


def _memory_bomb(path: Path) -> Path:
    return stream_bomb_pdf(path, BOMB_BYTES)


def _endless_loop(path: Path) -> Path:
    """A page of forms that draw ten forms each, eight deep, the last of which do nothing, slowly: days of work."""
    depth = 8
    names = b" ".join(b"/X Do" for _ in range(10))
    page = b"<< /Type /Page /Parent 2 0 R /Contents 4 0 R /Resources << /XObject << /X 6 0 R >> >>"
    objects = [b"<< /Type /Catalog /Pages 2 0 R >>", b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>"]
    objects += [page + b" /MediaBox [0 0 300 300] >>", _stream(b"", b"/X Do"), HELVETICA]
    form = b"/Type /XObject /Subtype /Form /BBox [0 0 300 300]"
    for level in range(depth):
        inner = b" /Resources << /XObject << /X %d 0 R >> >>" % (7 + level) if level < depth - 1 else b""
        objects.append(_stream(form + inner, names if inner else b"q Q " * NO_OPERATIONS))
    return raw_pdf(path, objects)


def _stream(entries: bytes, content: bytes) -> bytes:
    return b"<< %s /Length %d >>\nstream\n%s\nendstream" % (entries, len(content), content)
