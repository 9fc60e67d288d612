"""`/metrics` on a port of its own, for a Prometheus that has no account here.

A few lines of HTTP on the server's own event loop: the figures are asked for there anyway and rendered on a thread, so
a second server or a threaded one would add parts and save nothing. It answers one request a connection, takes no body,
and has its own small limits, so whoever reaches this port cannot hold up the other one.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from loguru import logger

from perplex_mono.errors import ConfigurationError
from perplex_mono.telemetry.metrics import CONTENT_TYPE, Metrics

HEAD_SECONDS = 5.0
ANSWER_SECONDS = 15.0
MAX_HEAD_BYTES = 8192
MAX_CONNECTIONS = 16
_REASONS = {200: "OK", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed"}


@asynccontextmanager
async def serve_metrics(metrics: Metrics, host: str, port: int) -> AsyncIterator[int]:
    """Listen while the block runs; the port, chosen by the system for port 0. Raises `ConfigurationError`."""
    listener = _Listener(metrics)
    try:
        server = await asyncio.start_server(listener.answer, host, port, limit=MAX_HEAD_BYTES)
    except OSError as error:
        raise ConfigurationError(
            f"Nothing can listen on {host}:{port} ({error.strerror}); choose another telemetry.metrics_port."
        ) from error
    try:
        bound: int = server.sockets[0].getsockname()[1]
        logger.info("metrics.listening", host=host, port=bound)
        yield bound
    finally:
        server.close()
        await listener.stop()


class _Listener:
    """Answers connections, a few at a time."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._answering: set[asyncio.Task[None]] = set()

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One request, and the end of the connection; at once where there are too many."""
        task = asyncio.current_task()
        assert task is not None
        if len(self._answering) >= MAX_CONNECTIONS:
            writer.transport.abort()
            return
        self._answering.add(task)
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                status, body = await self._respond(reader)
                writer.write(_head(status, len(body)) + body)
                await writer.drain()
        except (OSError, TimeoutError, asyncio.CancelledError):
            writer.transport.abort()
        except Exception:
            logger.exception("metrics.not_shown")
            writer.transport.abort()
        finally:
            self._answering.discard(task)
            writer.close()

    async def stop(self) -> None:
        """End whatever is being answered."""
        answering = list(self._answering)
        for task in answering:
            task.cancel()
        await asyncio.gather(*answering, return_exceptions=True)

    async def _respond(self, reader: asyncio.StreamReader) -> tuple[int, bytes]:
        try:
            async with asyncio.timeout(HEAD_SECONDS):
                head = await reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, TimeoutError):
            return 400, b"This is no request.\n"
        method, _, rest = head.split(b"\r\n", 1)[0].partition(b" ")
        path = rest.partition(b" ")[0].partition(b"?")[0]
        if path != b"/metrics":
            return 404, b"Here is only /metrics.\n"
        if method != b"GET":
            return 405, b"Only GET is answered.\n"
        return 200, await self._metrics.exposition()


def _head(status: int, length: int) -> bytes:
    kind = CONTENT_TYPE if status == 200 else "text/plain"
    lines = [
        f"HTTP/1.1 {status} {_REASONS[status]}",
        f"Content-Type: {kind}; charset=utf-8",
        f"Content-Length: {length}",
        "X-Content-Type-Options: nosniff",
        "Connection: close",
    ]
    return "\r\n".join([*lines, "\r\n"]).encode()
