"""What a person may say to an operation; each is part of the caller's transaction."""

from sqlmodel.ext.asyncio.session import AsyncSession

from perplex_mono.operations.journal import Journal
from perplex_mono.operations.models import Operation


class Steering(Journal):
    """Pause, resume, cancel and retry, without asking whether that is allowed now: `OperationService` did."""

    async def pause(self, session: AsyncSession, operation: Operation) -> None:
        """Hold the operation; its checkpoints stay."""
        operation.state, operation.lease_until, operation.eta_seconds = "paused", None, None
        await self._stopped(session, operation)
        await self.emit(session, operation, "paused", {"done": operation.done, "total": operation.total})

    async def cancel(self, session: AsyncSession, operation: Operation) -> None:
        """End the operation unfinished."""
        await self._end(session, operation, "cancelled", {})

    async def resume(self, session: AsyncSession, operation: Operation) -> None:
        """Let a paused operation go on; the doorbell rings after the commit."""
        operation.state, operation.attempt, operation.not_before = "queued", 0, None
        await self.emit(session, operation, "resumed", {"done": operation.done, "total": operation.total})
        self._ring_after_commit(session, operation)

    async def retry(self, session: AsyncSession, operation: Operation) -> None:
        """Take an ended operation up again, its attempts and errors forgotten; the doorbell rings after the commit."""
        operation.state, operation.attempt, operation.not_before = "queued", 0, None
        operation.finished_at = operation.error_type = operation.error_message = None
        operation.failed_count = 0
        for prepare in self._on_retried:
            await prepare(session, operation)
        await self.emit(session, operation, "queued", {"reason": "it is tried again"})
        self._ring_after_commit(session, operation)
