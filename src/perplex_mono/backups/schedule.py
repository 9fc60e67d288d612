"""Backups that nobody has to remember."""

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta

from loguru import logger
from sqlmodel import col, select

from perplex_mono.backups.service import BackupService
from perplex_mono.backups.snapshot import KIND
from perplex_mono.errors import Conflict, StorageFull
from perplex_mono.operations.models import FINAL_STATES, Operation
from perplex_mono.storage.database import Database
from perplex_mono.storage.identity import utc_now
from perplex_mono.telemetry.supervision import Supervisor

LOOK_SECONDS = 60.0
# After a backup that could not be made another one is tried this much later, or at its usual time if that is sooner.
RETRY = timedelta(hours=1)
OVERDUE = timedelta(hours=2)


class BackupSchedule:
    """Asks for a backup whenever the last one it asked for is old enough; `/ready` tells of one that failed."""

    def __init__(
        self,
        database: Database,
        backups: BackupService,
        *,
        every_hours: float,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self.supervisor = Supervisor("backups", self.run)
        self._database = database
        self._backups = backups
        self._every = timedelta(hours=every_hours)
        self._clock = clock
        self._began_at = self._held_until = clock()

    async def run(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            await self.look()

    async def look(self) -> None:
        """Ask for a backup if one is due. Beside another it is asked for at the next look, without room later."""
        if self._clock() < self._held_until:
            return
        last = await self._last()
        try:
            if self._is_due(last):
                await self._backups.start()
        except Conflict:
            pass
        except StorageFull as full:
            self._held_until = self._clock() + min(self._every, RETRY)
            logger.error("backup.not_scheduled", reason=str(full))
            self.supervisor.mark_degraded(f"no backup can be made: {full}")
            return
        self._report(last, await self._last("completed"))

    async def _last(self, state: str | None = None) -> Operation | None:
        """The newest scheduled backup, of all or of those in this state."""
        query = select(Operation).where(Operation.kind == KIND, col(Operation.params)["is_scheduled"].as_boolean())
        if state is not None:
            query = query.where(Operation.state == state)
        query = query.order_by(col(Operation.id).desc()).limit(1)
        async with self._database.read() as session:
            return (await session.exec(query)).first()

    def _report(self, last: Operation | None, completed: Operation | None) -> None:
        """Not well after a failure, nor when something else keeps backups from being made, as one that is paused."""
        since = completed.created_at if completed is not None else self._began_at
        if last is not None and last.state in ("failed", "dead"):
            self.supervisor.mark_degraded(f"the last scheduled backup {last.state}: {last.error_message}")
        elif self._clock() - since > self._every + OVERDUE:
            self.supervisor.mark_degraded(f"no scheduled backup was completed since {since:%Y-%m-%d %H:%M} UTC")
        else:
            self.supervisor.mark_ok()

    def _is_due(self, last: Operation | None) -> bool:
        if last is None:
            return True
        if last.state not in FINAL_STATES:
            return False
        pause = self._every if last.state == "completed" else min(self._every, RETRY)
        return self._clock() - last.created_at >= pause
