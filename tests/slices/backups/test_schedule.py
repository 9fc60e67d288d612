"""Scheduled backups come when they are due, and old ones go; what anybody else made stays."""

import shutil
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from perplex_mono.backups.schedule import BackupSchedule
from perplex_mono.errors import DataCorrupt
from perplex_mono.storage.disk_full import DiskReserve
from perplex_mono.storage.identity import utc_now
from perplex_mono.web.callers import LOCAL_CALLER
from tests.app_client import App, open_app
from tests.slices.backups.made import FILES, make_backup


class Clock:
    """The time, and as much later as a test wants."""

    def __init__(self) -> None:
        self.later = timedelta()

    def __call__(self) -> datetime:
        return utc_now() + self.later


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[App]:
    async with open_app(tmp_path, backups={"every_hours": 6.0, "keep": 2}) as opened:
        await opened.ingest(FILES[0])
        yield opened


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def schedule(app: App, clock: Clock) -> BackupSchedule:
    service = app.container.backups
    return BackupSchedule(service._database, service, every_hours=6.0, clock=clock)


async def settled(app: App) -> list[str]:
    """The states of all backups that were asked for, the newest first, once they have one."""
    items = (await app.client.get("/api/v1/operations?kind=backup")).json()["items"]
    return [(await app.settle(item["id"]))["state"] for item in items]


async def listed(app: App) -> list[str]:
    return [item["id"] for item in (await app.client.get("/api/v1/backups")).json()["items"]]


async def test_one_is_made_when_it_is_due(app: App, schedule: BackupSchedule, clock: Clock) -> None:
    await schedule.look()
    assert await settled(app) == ["completed"]
    clock.later = timedelta(hours=5)
    await schedule.look()
    assert await settled(app) == ["completed"]
    clock.later = timedelta(hours=6, seconds=1)
    await schedule.look()
    assert await settled(app) == ["completed"] * 2


async def test_it_does_not_begin_beside_another(app: App, schedule: BackupSchedule) -> None:
    accepted = (await app.client.post("/api/v1/backups", json={})).json()
    await app.client.post(f"/api/v1/operations/{accepted['operation_id']}/pause")
    await schedule.look()
    assert len((await app.client.get("/api/v1/operations?kind=backup")).json()["items"]) == 1


async def test_one_that_failed_is_tried_again_within_an_hour(
    app: App, schedule: BackupSchedule, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise DataCorrupt("It is not what was written.")

    monkeypatch.setattr("perplex_mono.backups.jobs.verify_archive", refuse)
    await schedule.look()
    assert await settled(app) == ["failed"]
    assert await listed(app) == []
    schedule.supervisor.start()
    await schedule.look()
    status = schedule.supervisor.status()
    await schedule.supervisor.stop(1)
    assert (status.state, status.reason) == (
        "degraded",
        "the last scheduled backup failed: It is not what was written.",
    )
    assert await settled(app) == ["failed"]
    monkeypatch.undo()
    clock.later = timedelta(hours=1, seconds=1)
    await schedule.look()
    assert await settled(app) == ["completed", "failed"]


async def test_without_room_it_says_so_and_tries_again_later(app: App, schedule: BackupSchedule, clock: Clock) -> None:
    app.container.backups._handler._reserve = DiskReserve(10**18, 0.0)
    schedule.supervisor.start()
    for _ in range(2):
        await schedule.look()
        status = schedule.supervisor.status()
        assert (status.state, "no backup can be made" in str(status.reason)) == ("degraded", True)
    await schedule.supervisor.stop(1)
    assert await settled(app) == []
    app.container.backups._handler._reserve = DiskReserve(0, 0.0)
    clock.later = timedelta(hours=1, seconds=1)
    await schedule.look()
    assert await settled(app) == ["completed"]


async def test_the_newest_of_its_own_stay(app: App, schedule: BackupSchedule, clock: Clock, tmp_path: Path) -> None:
    """Beside them are one that a person asked for, one of another library, and a file that is no backup."""
    by_hand = await make_backup(app)
    async with open_app(tmp_path / "other") as other:
        foreign = await other.container.backups.start()
        await other.settle(foreign.operation_id)
        shutil.copy(await other.container.backups.file(foreign.backup_id, LOCAL_CALLER), by_hand.parent)
    broken = by_hand.parent / "perplex-20200101T000000Z-00000000.tar"
    broken.write_bytes(b"not a backup")
    made = []
    for hours in (0, 7, 14, 21):
        clock.later = timedelta(hours=hours)
        await schedule.look()
        await settled(app)
        made.append((await listed_scheduled(app, foreign.backup_id))[0])
    assert await listed_scheduled(app, foreign.backup_id) == [made[3], made[2]]
    assert by_hand.is_file()
    assert broken.is_file()
    assert foreign.backup_id in await listed(app)


async def listed_scheduled(app: App, foreign_id: str) -> list[str]:
    items = (await app.client.get("/api/v1/backups")).json()["items"]
    return [item["id"] for item in items if item["is_scheduled"] and item["id"] != foreign_id]


async def test_a_server_without_a_schedule_has_no_such_component(tmp_path: Path, app: App) -> None:
    assert "backups" in (await app.client.get("/ready")).json()["components"]
    async with open_app(tmp_path / "other") as other:
        assert "backups" not in (await other.client.get("/ready")).json()["components"]
