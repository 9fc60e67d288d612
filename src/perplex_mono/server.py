"""One process: granian inside our event loop, started at once, stopped in an order that loses nothing.

The loop is asyncio's own: uvloop starts children with a full fork, which runs LanceDB's fork handlers in a process that
holds its threads' locks; asyncio's way executes the child without them.
"""

import asyncio
import signal
import sys
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager, nullcontext, suppress

from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.server.embed import Server
from loguru import logger

from perplex_mono.app import create_app, request_guard
from perplex_mono.container import Container, open_container
from perplex_mono.errors import ConfigurationError
from perplex_mono.inference.memory import limit_arenas
from perplex_mono.settings import Settings, TelemetrySettings
from perplex_mono.settings.loading import Source
from perplex_mono.telemetry.logs import configure_logging, set_level
from perplex_mono.telemetry.metrics import Metrics
from perplex_mono.telemetry.metrics_listener import serve_metrics
from perplex_mono.telemetry.traces import Tracing
from perplex_mono.web.guard import CLOSED_REASON
from perplex_mono.web.listening import allow_connections, require_free_port

# For which a thread may keep the interpreter while others wait. Python's own 5 ms is half of what a question takes to
# embed, and its many short calls pay it again and again while documents are cut on other threads.
SWITCH_SECONDS = 0.0005
LISTEN_POLL_SECONDS = 0.02
# Connections that never finish their headers hold a place until this is over; idle ones are closed by it too.
HEADERS_MILLISECONDS = 10_000
SERVER_STOP_SECONDS = 10.0
SOCKETS_STOP_SECONDS = 6.0


def run(settings: Settings, sources: Mapping[str, Source] | None = None) -> None:
    """Serve until SIGTERM or SIGINT; `sources` says who set what.

    Raises `ConfigurationError` when the address cannot be used.
    """
    limit_arenas()
    sys.setswitchinterval(SWITCH_SECONDS)
    configure_logging(settings.logging)
    tracing = Tracing(settings.telemetry)
    try:
        asyncio.run(serve(settings, sources, tracing))
    finally:
        tracing.close()


async def serve(settings: Settings, sources: Mapping[str, Source] | None, tracing: Tracing) -> None:
    """Open everything, answer until told to stop, close everything within the time allowed."""
    require_free_port(settings.server.host, settings.server.port)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with open_container(settings, is_warm=False, sources=sources) as container:
        set_level(container.settings.logging.level)
        container.live.follow(("logging.level",), lambda changed: set_level(changed.logging.level))
        tracing.count_with(container.metrics.count_spans)
        async with _metrics_port(settings.telemetry, container.metrics):
            await _answer_until(stop, container.settings, container)
    logger.info("server.stopped")


def _metrics_port(settings: TelemetrySettings, metrics: Metrics) -> AbstractAsyncContextManager[int | None]:
    """The port of `/metrics` alone, where one is set."""
    if settings.metrics_port:
        return serve_metrics(metrics, settings.metrics_host, settings.metrics_port)
    return nullcontext()


async def _answer_until(stop: asyncio.Event, settings: Settings, container: Container) -> None:
    allow_connections(settings.limits.max_connections)
    server = Server(
        create_app(container),
        address=settings.server.host,
        port=settings.server.port,
        interface=Interfaces.ASGI,
        http=HTTPModes.http1,
        http1_settings=HTTP1Settings(header_read_timeout=HEADERS_MILLISECONDS),
        backlog=settings.server.backlog,
        backpressure=settings.limits.max_connections,
        log_enabled=False,
        websockets=True,
    )
    serving = asyncio.create_task(server.serve())
    stopping = asyncio.create_task(stop.wait())
    address = f"http://{settings.server.host}:{settings.server.port}{settings.server.base_path}"
    await _until_listening(serving, settings.server.host, settings.server.port)
    logger.info("server.started", address=address, data_directory=str(settings.data_directory))
    await container.warm_up()
    container.watch()
    looking = asyncio.create_task(container.sources.warn_of_missing_roots())  # a mount that hangs holds nobody up
    if request_guard(settings, container.authenticator).mode == "closed":
        logger.warning("server.closed", reason=CLOSED_REASON, **container.accounts.told_setup_token())
    await asyncio.wait((serving, stopping), return_when=asyncio.FIRST_COMPLETED)
    if serving.done():
        stopping.cancel()
        serving.result()
        raise ConfigurationError(f"The server at {address} ended by itself; its log says why.")
    logger.info("server.stopping")
    asyncio.get_running_loop().call_later(settings.server.shutdown_seconds, _give_up)
    looking.cancel()
    container.health_service.stop()
    await container.hub.stop(SOCKETS_STOP_SECONDS)
    server.stop()  # type: ignore[no-untyped-call]  # granian leaves it bare
    await asyncio.wait((serving,), timeout=SERVER_STOP_SECONDS)


async def _until_listening(serving: asyncio.Task[None], host: str, port: int) -> None:
    """Wait until connections are taken: models are loaded behind a server that answers, not before it."""
    while not serving.done():
        with suppress(OSError):
            _, writer = await asyncio.open_connection(host, port)
            writer.close()
            return
        await asyncio.sleep(LISTEN_POLL_SECONDS)


def _give_up() -> None:
    """Closing took longer than allowed; what is durable is durable, so end."""
    logger.error("server.stop_timeout")
    signal.raise_signal(signal.SIGKILL)
