"""Starts what the ledger says may start, keeps the leases alive, and gives work back at shutdown.

The doorbell only calls `wake`. Without it (Redis down, a ring lost) the dispatcher looks by itself every few seconds.
"""

import asyncio
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from loguru import logger

from perplex_mono.errors import PerplexError, StaleLease, Stalled
from perplex_mono.operations.leases import MAX_RUNNING
from perplex_mono.operations.ledger import Claim, Ledger
from perplex_mono.operations.retries import is_transient
from perplex_mono.operations.stalls import StallWatch
from perplex_mono.telemetry.logs import operation_id_var
from perplex_mono.telemetry.traces import span
from perplex_mono.telemetry.waiting import timed_work_var


class OperationHandler(Protocol):
    """Does the work of one kind of operation. It must survive being cancelled at any await and being run again."""

    async def run(self, claim: Claim) -> None:
        """Work until the operation ended in the ledger. Raising ends the attempt, not the server."""


@dataclass
class _Attempt:
    """What is being worked at; `is_stalled` says why it was interrupted."""

    claim: Claim
    task: asyncio.Task[None]
    is_stalled: bool = False


class Dispatcher:
    """Runs claimed operations as supervised tasks of this process."""

    def __init__(
        self,
        ledger: Ledger,
        handlers: Mapping[str, OperationHandler],
        stalls: StallWatch,
        *,
        poll_seconds: float,
        lease_seconds: float,
    ) -> None:
        self._ledger = ledger
        self._handlers = handlers
        self._stalls = stalls
        ledger.on_moved(stalls.mark_moved)
        self._poll_seconds = poll_seconds
        self._renew_seconds = lease_seconds / 3
        self._wake = asyncio.Event()
        self._running: dict[str, _Attempt] = {}
        self._is_stopping = False

    @property
    def running_count(self) -> int:
        """How many operations are being worked at."""
        return len(self._running)

    def wake(self) -> None:
        """Look for work now."""
        self._wake.set()

    async def run(self) -> None:
        """Dispatch until cancelled."""
        while True:
            await self._start_claimable()
            try:
                async with asyncio.timeout(self._poll_seconds):
                    await self._wake.wait()
            except TimeoutError:
                continue
            finally:
                self._wake.clear()

    def interrupt(self, operation_id: str) -> None:
        """Stop working at an operation that was paused or cancelled; nothing it still writes will be taken."""
        attempt = self._running.get(operation_id)
        if attempt is not None and not attempt.task.cancelling():
            attempt.task.cancel()

    async def stop(self, timeout_seconds: float) -> None:
        """Start nothing more and cancel what runs; every operation goes back to the queue with its checkpoints kept."""
        self._is_stopping = True
        tasks = [attempt.task for attempt in self._running.values()]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=timeout_seconds)

    async def _start_claimable(self) -> None:
        if self._is_stopping or len(self._running) >= MAX_RUNNING:
            return
        for claim in await self._ledger.claim(MAX_RUNNING, [attempt.claim for attempt in self._running.values()]):
            task = asyncio.create_task(self._work(claim), name=f"operation-{claim.operation_id}")
            self._running[claim.operation_id] = _Attempt(claim, task)
            task.add_done_callback(partial(self._forget, claim.operation_id))

    def _forget(self, operation_id: str, _: asyncio.Task[None]) -> None:
        del self._running[operation_id]
        self._stalls.end(operation_id)
        self._wake.set()

    async def _work(self, claim: Claim) -> None:
        operation_id_var.set(claim.operation_id)
        timed_work_var.set(self._stalls.begin(claim.operation_id))
        handler = self._handlers[claim.kind]
        attempt = self._running[claim.operation_id]
        renewal = asyncio.create_task(self._keep_lease(attempt))
        try:
            name, parent = f"operation.{claim.kind}", claim.trace_parent
            with span(name, parent=parent, operation_id=claim.operation_id, epoch=claim.epoch):
                await handler.run(claim)
        except asyncio.CancelledError:
            await self._settle(self._put_back(attempt))
        except StaleLease as stale:
            logger.warning("operation.lease_lost", reason=str(stale))
        except PerplexError as error:
            logger.warning("operation.attempt_failed", reason=str(error))
            await self._settle(self._ledger.fail(claim, error, permanent=not is_transient(error)))
        except Exception as error:
            logger.exception("operation.attempt_broke")
            await self._settle(self._ledger.fail(claim, error, permanent=not is_transient(error)))
        finally:
            renewal.cancel()
            await asyncio.gather(renewal, return_exceptions=True)  # it may be in the middle of a write

    async def _put_back(self, attempt: _Attempt) -> None:
        """End an attempt that was interrupted: by its own stall, or by nothing that it is to blame for."""
        if not attempt.is_stalled:
            await self._ledger.release(attempt.claim)
            return
        limit = f"{self._stalls.limit_seconds:g} seconds (limits.operation_stall_seconds)"
        await self._ledger.fail(attempt.claim, Stalled(f"It got nothing done for {limit}."), permanent=False)

    async def _keep_lease(self, attempt: _Attempt) -> None:
        claim = attempt.claim
        while True:
            await asyncio.sleep(self._renew_seconds)
            if self._stalls.is_stalled(claim.operation_id) and not attempt.task.cancelling():
                logger.warning("operation.stalled", kind=claim.kind)
                attempt.is_stalled = True
                attempt.task.cancel()
            try:
                await self._ledger.renew(claim)
            except StaleLease:
                attempt.task.cancel()
                return
            except Exception:
                logger.exception("operation.lease_renewal_failed")

    @staticmethod
    async def _settle(ending: Coroutine[None, None, None]) -> None:
        try:
            await ending
        except StaleLease as stale:
            logger.warning("operation.lease_lost", reason=str(stale))
        except Exception as error:
            # Not even the end can be written. The lease runs out by itself, and the operation is taken up again.
            logger.warning("operation.end_not_written", reason=str(error))
