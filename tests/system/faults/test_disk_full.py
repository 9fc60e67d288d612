"""A full disk refuses what is new and forgets nothing: work waits for space, however often it is tried meanwhile."""

import errno
import random
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from sqlmodel.ext.asyncio.session import AsyncSession

from perplex_mono.errors import StorageFull, Unavailable
from perplex_mono.operations.events import EventBus
from perplex_mono.operations.ledger import Claim, Ledger
from perplex_mono.operations.service import OperationService
from perplex_mono.storage.blobs import BlobStore
from perplex_mono.storage.database import Database
from perplex_mono.storage.disk_full import is_disk_full
from tests.server_process import ServerProcess
from tests.system.faults.means import missing, quick_and_whole
from tests.system.faults.mounts import small_disk
from tests.system.faults.promises import Promises
from tests.system.faults.samples import mixed, text_file
from tests.system.faults.table import FaultTable

DISK_MEGABYTES = 64
LANCE = "a commit failed: lance error: LanceError(IO): No space left on device (os error 28), src/writer.rs:12"


class Clock:
    """A clock that jumps over every pause."""

    def __init__(self) -> None:
        self.now = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        self.now += timedelta(hours=1)
        return self.now


async def tried_often(database: Database, error: Exception) -> str:
    """The state of an operation whose attempts all end with this error."""
    ledger = Ledger(database, EventBus(), lease_seconds=30, max_attempts=3, clock=Clock())
    async with database.write() as session:
        operation = await ledger.enqueue(
            session, owner_id="local", kind="ingest", collection_id=None, total=1, unit="pages"
        )
    for _ in range(6):
        for claim in await ledger.claim(1):
            assert isinstance(claim, Claim)
            await ledger.fail(claim, error, permanent=False)
    return (await OperationService(database, ledger, lambda _: None).get(operation.id, "local")).state


@pytest.mark.parametrize("error", [StorageFull("The disk is full."), Unavailable("index", LANCE)])
async def test_attempts_on_a_full_disk_do_not_count(database: Database, error: Exception) -> None:
    assert await tried_often(database, error) == "queued"


async def test_other_failed_attempts_count(database: Database) -> None:
    assert await tried_often(database, Unavailable("index", "a commit failed: it is broken")) == "dead"


async def test_a_database_without_room_says_that_the_disk_is_full(database: Database) -> None:
    async def fill(session: AsyncSession) -> None:
        connection = await session.connection()
        await connection.exec_driver_sql("PRAGMA max_page_count = 1")
        await connection.exec_driver_sql("CREATE TABLE filler AS SELECT zeroblob(10000000) AS bytes")

    with pytest.raises(StorageFull):
        async with database.write() as session:
            await fill(session)


async def test_an_upload_that_fills_the_disk_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    store = BlobStore(tmp_path, reserve_bytes=0, reserve_fraction=0.0)
    store.open()
    blob = store.receive(10_000_000)
    full = Path("/dev/full")
    if not full.exists():
        missing("there is no /dev/full here")
    blob._file.close()
    blob._file = full.open("wb")  # every write to it fails as on a full disk
    await blob.write(b"x" * 100)
    with pytest.raises(StorageFull):
        await blob.finish()
    blob.discard()
    assert list((tmp_path / "incoming").iterdir()) == []


def test_a_full_disk_is_known_by_number_and_by_words() -> None:
    wrapped = RuntimeError("outer")
    wrapped.__cause__ = OSError(errno.ENOSPC, "No space")
    assert is_disk_full(wrapped)
    assert is_disk_full(RuntimeError(LANCE))
    assert not is_disk_full(OSError(errno.EACCES, "Permission denied"))


@quick_and_whole(10)
def test_a_full_disk_refuses_uploads_finishes_nothing_wrong_and_recovers_without_a_restart(
    tmp_path: Path, server: ServerProcess, faults: FaultTable, rounds: int
) -> None:
    fault, chance = faults.fault("disk full (tmpfs)"), random.Random(3)
    with small_disk(tmp_path / "disk", DISK_MEGABYTES) as disk:
        server.data = disk.path / "data"
        promises = Promises(server)
        promises.recover()
        fresh = mixed(3)
        promises.upload(next(fresh))
        promises.settle()
        for _ in range(rounds):
            promises.upload(next(fresh), next(fresh))
            time.sleep(chance.uniform(0, 1))  # any step of the work may be the one that meets the full disk
            disk.fill()
            refused = _upload_status(server)
            promises.judge_ready(fault)
            time.sleep(chance.uniform(0, 3))
            disk.free()
            freed = time.monotonic()
            assert refused == 507
            promises.upload(next(fresh))
            promises.settle()
            fault.recovered(time.monotonic() - freed)
            promises.judge(fault)
            fault.rounds += 1
        promises.require_kept(fault)


def test_a_read_only_disk_is_said_at_the_start_and_nothing_is_harmed(
    tmp_path: Path, server: ServerProcess, faults: FaultTable
) -> None:
    fault = faults.fault("read-only file system at the start")
    with small_disk(tmp_path / "disk", DISK_MEGABYTES) as disk:
        server.data = disk.path / "data"
        promises = Promises(server)
        promises.recover()
        promises.upload(text_file(1))
        promises.settle()
        server.stop()
        disk.remount("ro")
        with pytest.raises(AssertionError, match="the server ended with"):
            server.start()
        assert "read-only" in server.log().splitlines()[-1].lower()
        assert "Traceback" not in server.log()
        disk.remount("rw")
        fault.recovered(promises.recover())
        fault.rounds += 1
        promises.require_kept(fault)


def _upload_status(server: ServerProcess) -> int:
    files = [("files", ("refused.txt", b"There is no room for this."))]
    return httpx.post(f"{server.url}/api/v1/collections/default/documents", files=files, timeout=60).status_code
