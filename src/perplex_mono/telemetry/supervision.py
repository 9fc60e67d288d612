"""Keeping long-running tasks alive: a task that ends is started again, later each time, and says so.

Supervised are the queue worker, the Redis child, the dispatcher and whatever else must outlive its own failures.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Literal

import msgspec
from loguru import logger

ComponentState = Literal["ok", "degraded", "down"]


class ComponentStatus(msgspec.Struct, frozen=True):
    """How a component is, for people: `reason` is None when it is ok; `restarts` since the start.

    `since` is UTC; None where the component only knows how it is now, and whoever asks remembers what it said before.
    """

    name: str
    state: ComponentState
    reason: str | None
    since: datetime | None = None
    restarts: int = 0


class Supervisor:
    """Runs `run` until stopped, and runs it again whenever it ends or fails.

    Waits from `min_delay_seconds`, doubled each time up to `max_delay_seconds`, plus up to a quarter of jitter; a
    run that was well for `healthy_after_seconds` starts the row anew. `run` may report itself with `mark_ok` and
    `mark_degraded`; one that reports nothing counts as ok when it starts, and after a failure once it has lasted
    `healthy_after_seconds`.
    """

    def __init__(
        self,
        name: str,
        run: Callable[[], Awaitable[None]],
        *,
        min_delay_seconds: float = 0.2,
        max_delay_seconds: float = 30.0,
        healthy_after_seconds: float = 10.0,
    ) -> None:
        self._name = name
        self._run = run
        self._min_delay_seconds = min_delay_seconds
        self._max_delay_seconds = max_delay_seconds
        self._healthy_after_seconds = healthy_after_seconds
        self._task: asyncio.Task[None] | None = None
        self._reports_itself = False
        self._status = ComponentStatus(name, "down", "not started", datetime.now(UTC))

    def start(self) -> None:
        """Starts supervising in the running event loop; without effect while it already does."""
        if self._task is None:
            self._enter("ok", None)
            self._task = asyncio.create_task(self._keep_running(), name=f"supervise:{self._name}")

    async def stop(self, timeout_seconds: float) -> None:
        """Cancels the task and waits for it, `timeout_seconds` at most; what is stuck then is left behind, logged."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            _, late = await asyncio.wait({task}, timeout=timeout_seconds)
            if late:
                logger.warning("supervisor.stop_timeout", component=self._name, seconds=timeout_seconds)
        self._enter("down", "stopped")

    def status(self) -> ComponentStatus:
        """The present state, its reason, and since when."""
        return self._status

    def mark_ok(self) -> None:
        """Called by `run` itself: it works."""
        self._report("ok", None)

    def mark_degraded(self, reason: str) -> None:
        """Called by `run` itself: it goes on, but not well."""
        self._report("degraded", reason)

    def _report(self, state: ComponentState, reason: str | None) -> None:
        self._reports_itself = True
        if self._task is not None:
            self._enter(state, reason)

    def _enter(self, state: ComponentState, reason: str | None) -> None:
        before = self._status
        if (before.state, before.reason) != (state, reason):
            since = before.since if before.state == state else datetime.now(UTC)
            self._status = msgspec.structs.replace(before, state=state, reason=reason, since=since)

    async def _keep_running(self) -> None:
        delay_seconds = self._min_delay_seconds
        while True:
            was_well, reason = await self._run_once()
            if was_well:
                delay_seconds = self._min_delay_seconds
            wait_seconds = min(delay_seconds * random.uniform(1.0, 1.25), self._max_delay_seconds)
            self._enter("degraded", reason)
            self._status = msgspec.structs.replace(self._status, restarts=self._status.restarts + 1)
            logger.warning(
                "supervisor.restarting", component=self._name, reason=reason, delay_seconds=round(wait_seconds, 2)
            )
            await asyncio.sleep(wait_seconds)
            delay_seconds = min(delay_seconds * 2, self._max_delay_seconds)

    async def _run_once(self) -> tuple[bool, str]:
        """One run to its end: whether it had been well for long enough, and why it ended."""
        self._reports_itself = False
        task = asyncio.ensure_future(self._run())
        try:
            _, still_running = await asyncio.wait({task}, timeout=self._healthy_after_seconds)
            if still_running:
                if not self._reports_itself:
                    self._enter("ok", None)
                await asyncio.wait({task})
        finally:
            if not task.done():
                task.cancel()
                await asyncio.wait({task})
                _why_ended(task)  # an error on the way out is known about; asyncio need not report it
        was_well = bool(still_running) and self._status.state == "ok"
        return was_well, _why_ended(task)


def _why_ended(task: "asyncio.Future[None]") -> str:
    if task.cancelled():
        return "cancelled"
    error = task.exception()
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if error is None:
        return "ended by itself"
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
