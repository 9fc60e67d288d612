"""Starts what the ledger says may start, keeps the leases alive, and gives work back at shutdown.

The doorbell only calls `wake`. Without it (Redis down, a ring lost) the dispatcher looks by itself every few seconds.
"""

import asyncio
from collections import Counter
from collections.abc import Coroutine, Mapping
from functools import partial
from typing import Protocol

from loguru import logger

from perplex_mono.errors import PerplexError, StaleLease
from perplex_mono.operations.ledger import Claim, Ledger
from perplex_mono.telemetry.logs import operation_id_var
from perplex_mono.telemetry.traces import span

MAX_RUNNING = 8
# A scan waits for the documents it found to be ingested, so scans alone must never fill every place.
MAX_RUNNING_OF_KIND = {"scan": 2}


class OperationHandler(Protocol):
    """Does the work of one kind of operation. It must survive being cancelled at any await and being run again."""

    async def run(self, claim: Claim) -> None:
        """Work until the operation ended in the ledger. Raising ends the attempt, not the server."""


class Dispatcher:
    """Runs claimed operations as supervised tasks of this process."""

    def __init__(
        self, ledger: Ledger, handlers: Mapping[str, OperationHandler], *, poll_seconds: float, lease_seconds: float
    ) -> None:
        self._ledger = ledger
        self._handlers = handlers
        self._poll_seconds = poll_seconds
        self._renew_seconds = lease_seconds / 3
        self._wake = asyncio.Event()
        self._running: dict[str, asyncio.Task[None]] = {}
        self._kinds: dict[str, str] = {}
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
        task = self._running.get(operation_id)
        if task is not None and not task.cancelling():
            task.cancel()

    async def stop(self, timeout_seconds: float) -> None:
        """Start nothing more and cancel what runs; every operation goes back to the queue with its checkpoints kept."""
        self._is_stopping = True
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=timeout_seconds)

    async def _start_claimable(self) -> None:
        while (room := MAX_RUNNING - len(self._running)) > 0 and not self._is_stopping:
            working = Counter(self._kinds.values())
            rooms = {kind: most - working[kind] for kind, most in MAX_RUNNING_OF_KIND.items()}
            full = [kind for kind, left in rooms.items() if left <= 0]
            limited = [left for left in rooms.values() if left > 0]
            claims = await self._ledger.claim(min(room, *limited, MAX_RUNNING), self._running, full)
            for claim in claims:
                task = asyncio.create_task(self._work(claim), name=f"operation-{claim.operation_id}")
                self._running[claim.operation_id], self._kinds[claim.operation_id] = task, claim.kind
                task.add_done_callback(partial(self._forget, claim.operation_id))
            if not claims:
                return

    def _forget(self, operation_id: str, _: asyncio.Task[None]) -> None:
        self._running.pop(operation_id, None)
        self._kinds.pop(operation_id, None)
        self._wake.set()

    async def _work(self, claim: Claim) -> None:
        operation_id_var.set(claim.operation_id)
        handler = self._handlers[claim.kind]
        renewal = asyncio.create_task(self._keep_lease(claim, asyncio.current_task()))
        try:
            with span(f"operation.{claim.kind}", operation_id=claim.operation_id, epoch=claim.epoch):
                await handler.run(claim)
        except asyncio.CancelledError:
            await self._settle(self._ledger.release(claim))
        except StaleLease as stale:
            logger.warning("operation.lease_lost", reason=str(stale))
        except PerplexError as error:
            logger.warning("operation.attempt_failed", reason=str(error))
            await self._settle(self._ledger.fail(claim, error, permanent=False))
        except Exception as error:
            logger.exception("operation.attempt_broke")
            await self._settle(self._ledger.fail(claim, error, permanent=False))
        finally:
            renewal.cancel()

    async def _keep_lease(self, claim: Claim, worker: "asyncio.Task[None] | None") -> None:
        while True:
            await asyncio.sleep(self._renew_seconds)
            try:
                await self._ledger.renew(claim)
            except StaleLease:
                if worker is not None:
                    worker.cancel()
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
