"""The doorbell: tells the dispatcher at once that an operation waits, through arq on Redis.

It only saves the wait for the next look into the ledger. Rings may be lost, doubled, late or forged: the ledger alone
says what there is to do, and the dispatcher looks there every two seconds anyway.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Literal

import msgspec
from arq.connections import ArqRedis
from arq.worker import Worker
from arq.worker import func as arq_function
from loguru import logger
from redis.exceptions import RedisError

from perplex_mono.storage.redis_endpoint import RedisEndpoint
from perplex_mono.telemetry.supervision import ComponentStatus, Supervisor

QUEUE_NAME = "arq:perplex-mono"
RING_LIFETIME_MILLISECONDS = 60_000
CLOSE_STEP_SECONDS = 1.0
MAX_WAITING_RINGS = 256

OperationId = Annotated[str, msgspec.Meta(pattern=r"^[0-9A-Za-z-]{1,64}$")]


class _Ring(msgspec.Struct, forbid_unknown_fields=True, rename={"function": "f", "arguments": "a", "options": "k"}):
    """The only job there is, in arq's own field names (`t` its try, `et` its time of entry in milliseconds)."""

    function: Literal["pick_up"]
    arguments: tuple[OperationId]
    options: Annotated[dict[str, str], msgspec.Meta(max_length=0)]
    t: None
    et: Annotated[int, msgspec.Meta(ge=0, le=2**45)]


def encode_job(job: dict[str, Any]) -> bytes:
    """JSON instead of arq's pickle; what JSON cannot hold (errors of arq itself) becomes its `repr`."""
    return msgspec.json.encode(job, enc_hook=repr)


def decode_job(data: bytes) -> dict[str, Any]:
    """The job in arq's shape. Bytes of any other origin or shape become a call that does nothing, with a warning."""
    try:
        ring = msgspec.json.decode(data, type=_Ring)
    except (msgspec.DecodeError, UnicodeDecodeError):
        logger.warning("queue.job_ignored", reason="not a job of this product", size_bytes=len(data))
        return {"f": "ignore", "a": (), "k": {}, "t": None, "et": 0}
    return {"f": ring.function, "a": ring.arguments, "k": {}, "t": None, "et": ring.et}


class ArqDoorbell:
    """Rings through Redis, and answers rings in this process by `on_ring(operation_id)`, which must be quick.

    Both ends share one supervised session with Redis. When it breaks (killed, flushed, frozen) a new one is opened
    after a short wait that grows to `max_delay_seconds`; rings wait meanwhile, the oldest giving way.
    """

    def __init__(
        self,
        endpoint: RedisEndpoint,
        on_ring: Callable[[str], Awaitable[None]],
        *,
        queue_name: str = QUEUE_NAME,
        poll_delay_seconds: float = 0.05,
        answer_timeout_seconds: float = 2.0,
        job_timeout_seconds: float = 5.0,
        min_delay_seconds: float = 0.2,
        max_delay_seconds: float = 5.0,
    ) -> None:
        self._endpoint = endpoint
        self._on_ring = on_ring
        self._queue_name = queue_name
        self._poll_delay_seconds = poll_delay_seconds
        self._answer_timeout_seconds = answer_timeout_seconds
        self._job_timeout_seconds = job_timeout_seconds
        self._supervisor = Supervisor(
            "queue", self._hold_session, min_delay_seconds=min_delay_seconds, max_delay_seconds=max_delay_seconds
        )
        self._worker: Worker | None = None
        self._waiting: asyncio.Queue[tuple[str, int]] = asyncio.Queue(MAX_WAITING_RINGS)

    def start(self) -> None:
        """Begins to connect, ring and answer in the background."""
        self._supervisor.start()
        self._supervisor.mark_degraded("connecting to Redis")

    def ring(self, operation_id: str, epoch: int) -> None:
        """Hands the ring to the session and returns at once, whatever state Redis is in."""
        if self._waiting.full():
            self._waiting.get_nowait()
        self._waiting.put_nowait((operation_id, epoch))

    def status(self) -> ComponentStatus:
        """Component `queue`: ok while rings travel, degraded with the reason while the dispatcher works alone."""
        return self._supervisor.status()

    async def stop(self, timeout_seconds: float = 5.0) -> None:
        """Picks up no more, lets answers in progress finish, closes; in `timeout_seconds` even if Redis is stuck."""
        if self._worker is not None:
            self._worker.allow_pick_jobs = False
            answering = set(self._worker.tasks.values())
            if answering:
                await asyncio.wait(answering, timeout=timeout_seconds / 2)
        await self._supervisor.stop(timeout_seconds / 2)

    async def _hold_session(self) -> None:
        """One connected life of both ends; ends by raising what broke it."""
        self._supervisor.mark_degraded(self._endpoint.reason() or "connecting to Redis")
        redis = self._open(await self._endpoint.wait_url())
        try:
            # A job that breaks the worker would break every next one: what waits here may be lost, so it goes.
            await redis.delete(self._queue_name)
            self._worker = worker = self._new_worker(redis)
            self._supervisor.mark_ok()
            logger.info("queue.ready")
            async with asyncio.TaskGroup() as session:
                session.create_task(worker.async_run())
                session.create_task(self._send_rings(redis))
        finally:
            worker_to_close, self._worker = self._worker, None
            if worker_to_close is not None:
                await _bounded(worker_to_close.close())
            await _bounded(redis.aclose(close_connection_pool=True))

    def _open(self, url: str) -> ArqRedis:
        redis: ArqRedis = ArqRedis.from_url(
            url,
            socket_timeout=self._answer_timeout_seconds,
            socket_connect_timeout=self._answer_timeout_seconds,
            lib_name=None,  # CLIENT SETINFO is not in the access list
            lib_version=None,
        )
        redis.job_serializer = encode_job
        redis.job_deserializer = decode_job
        redis.default_queue_name = self._queue_name
        redis.expires_extra_ms = RING_LIFETIME_MILLISECONDS
        return redis

    def _new_worker(self, redis: ArqRedis) -> Worker:
        return Worker(
            functions=[arq_function(self._pick_up, name="pick_up"), arq_function(_ignore, name="ignore")],
            queue_name=self._queue_name,
            redis_pool=redis,
            handle_signals=False,
            job_serializer=encode_job,
            job_deserializer=decode_job,
            job_timeout=self._job_timeout_seconds,
            keep_result=0,
            poll_delay=self._poll_delay_seconds,
            log_results=False,
        )

    async def _pick_up(self, ctx: dict[Any, Any], *args: Any, **kwargs: Any) -> None:  # arq's own signature
        operation_id: str = args[0]
        await self._on_ring(operation_id)

    async def _send_rings(self, redis: ArqRedis) -> None:
        while True:
            operation_id, epoch = await self._waiting.get()
            try:
                await redis.enqueue_job("pick_up", operation_id, _job_id=f"{operation_id}:{epoch}")
            except (RedisError, OSError, asyncio.CancelledError):
                self.ring(operation_id, epoch)  # for the next session
                raise


async def _ignore(ctx: dict[Any, Any], *args: Any, **kwargs: Any) -> None:
    """What a forged job becomes."""


async def _bounded(closing: Awaitable[None]) -> None:
    """Lets `closing` run for a second and no longer; a connection that is already broken cannot close well."""
    try:
        async with asyncio.timeout(CLOSE_STEP_SECONDS):
            await closing
    except (RedisError, OSError, TimeoutError, asyncio.CancelledError) as error:
        logger.debug("queue.close_failed", reason=type(error).__name__)
