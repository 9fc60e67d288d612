"""The port of `/metrics` alone answers that and nothing else, whoever speaks to it and how."""

import asyncio

import httpx
import pytest

from perplex_mono.errors import ConfigurationError
from perplex_mono.telemetry import metrics_listener
from perplex_mono.telemetry.metrics import Metrics
from perplex_mono.telemetry.metrics_listener import MAX_CONNECTIONS, MAX_HEAD_BYTES, serve_metrics


async def read_all(reader: asyncio.StreamReader) -> bytes:
    """What came until the end, nothing if the connection was cut."""
    try:
        return await reader.read()
    except ConnectionResetError:
        return b""


async def test_it_shows_the_metrics() -> None:
    async with serve_metrics(Metrics(), "127.0.0.1", 0) as port, httpx.AsyncClient() as client:
        for _ in range(3):
            answer = await client.get(f"http://127.0.0.1:{port}/metrics?x=1")
            assert answer.status_code == 200
            assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
            assert "application_info" in answer.text


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/", 404), ("GET", "/api/v1/collections", 404), ("POST", "/metrics", 405)]
)
async def test_it_shows_nothing_else(method: str, path: str, status: int) -> None:
    async with serve_metrics(Metrics(), "127.0.0.1", 0) as port, httpx.AsyncClient() as client:
        assert (await client.request(method, f"http://127.0.0.1:{port}{path}")).status_code == status


@pytest.mark.parametrize("sent", [b"\x16\x03\x01\x00\r\n\r\n", b"GET /metrics", b"A" * (3 * MAX_HEAD_BYTES)])
async def test_what_is_no_request_gets_no_metrics(sent: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics_listener, "HEAD_SECONDS", 0.1)
    async with serve_metrics(Metrics(), "127.0.0.1", 0) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(sent)
        answer = await read_all(reader)
        assert b"application_info" not in answer
        assert answer == b"" or answer.startswith((b"HTTP/1.1 400", b"HTTP/1.1 404"))
        writer.close()


async def test_silent_connections_are_few_and_end_with_the_listener() -> None:
    async with serve_metrics(Metrics(), "127.0.0.1", 0) as port:
        silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(MAX_CONNECTIONS)]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /metrics HTTP/1.1\r\n\r\n")
        assert await read_all(reader) == b"", "one too many"
        writer.close()
    for reader, writer in silent:
        assert await read_all(reader) == b""
        writer.close()


async def test_a_port_that_is_taken_is_an_error_that_names_the_setting() -> None:
    async with serve_metrics(Metrics(), "127.0.0.1", 0) as port:
        with pytest.raises(ConfigurationError, match=r"telemetry\.metrics_port"):
            async with serve_metrics(Metrics(), "127.0.0.1", port):
                pass
