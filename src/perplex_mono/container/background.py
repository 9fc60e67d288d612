"""Runs what never ends: supervised loops, the dispatcher of operations, and the doorbell that wakes it."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack

from perplex_mono.operations.dispatcher import Dispatcher, OperationHandler
from perplex_mono.operations.ledger import Ledger
from perplex_mono.operations.metrics import OperationMetrics
from perplex_mono.operations.stalls import StallWatch
from perplex_mono.settings import Settings
from perplex_mono.storage.data_directory import DataDirectory
from perplex_mono.storage.queue import ArqDoorbell
from perplex_mono.storage.redis_endpoint import ExternalRedis, RedisEndpoint
from perplex_mono.storage.redis_server import NO_PROGRAM, RedisServer, find_redis_binary
from perplex_mono.telemetry.supervision import Supervisor
from perplex_mono.web.health import Probe

STOP_STEP_SECONDS = 5.0
DISPATCHER_STOP_SECONDS = 15.0


class Background:
    """Everything that runs beside the requests; `probes` says how each part is."""

    def __init__(self, settings: Settings, stack: AsyncExitStack) -> None:
        self._settings = settings
        self._stack = stack
        self.probes: dict[str, Probe] = {}

    def supervise(self, name: str, run: Callable[[], Awaitable[None]]) -> None:
        """Keep `run` running until the stack closes."""
        supervisor = Supervisor(name, run)
        supervisor.start()
        self.close_with(supervisor, is_shown=True)

    def close_with(self, supervisor: Supervisor, *, is_shown: bool) -> None:
        """Stop it when the stack closes, and tell how it is until then."""
        self._stack.push_async_callback(supervisor.stop, STOP_STEP_SECONDS)
        if is_shown:
            self.probes[supervisor.status().name] = supervisor.status

    async def run_operations(self, dispatcher: Dispatcher, ledger: Ledger, directory: DataDirectory) -> None:
        """Start dispatcher and doorbell, having given back what an earlier process held."""
        await ledger.requeue_orphans()
        self.supervise("dispatcher", dispatcher.run)
        self._stack.push_async_callback(dispatcher.stop, DISPATCHER_STOP_SECONDS)
        doorbell = await self._doorbell(directory, dispatcher)
        ledger.on_queued(doorbell.ring)
        self.probes["queue"] = doorbell.status

    def dispatcher(
        self, ledger: Ledger, handlers: Mapping[str, OperationHandler], metrics: OperationMetrics
    ) -> Dispatcher:
        """What starts operations, one handler a kind."""
        limits = self._settings.limits
        stalls = StallWatch(limits.operation_stall_seconds, patience_seconds=limits.queue_hours * 3600)
        dispatcher = Dispatcher(
            ledger,
            handlers,
            stalls,
            poll_seconds=self._settings.queue.poll_seconds,
            lease_seconds=self._settings.ingestion.lease_seconds,
        )
        metrics.running.set_function(lambda: dispatcher.running_count)
        metrics.progress_age.set_function(stalls.silent_seconds)
        return dispatcher

    async def _doorbell(self, directory: DataDirectory, dispatcher: Dispatcher) -> ArqDoorbell:
        queue = self._settings.queue
        endpoint: RedisEndpoint = ExternalRedis(queue.redis_url)
        if not queue.redis_url:
            await asyncio.to_thread(directory.queue.mkdir, exist_ok=True, mode=0o700)
            absent = NO_PROGRAM if queue.embedded_redis else "it is switched off (queue.embedded_redis)"
            endpoint = redis = RedisServer(
                find_redis_binary() if queue.embedded_redis else None, directory.queue, absent_reason=absent
            )
            redis.start()
            self._stack.push_async_callback(redis.stop, STOP_STEP_SECONDS)

        async def wake(_: str) -> None:
            dispatcher.wake()

        doorbell = ArqDoorbell(endpoint, wake)
        doorbell.start()
        self._stack.push_async_callback(doorbell.stop, STOP_STEP_SECONDS)
        return doorbell
