"""Attacks on the protocols: who is addressed, where requests end, how large and how slow they are, what is noted."""

import asyncio
import json
import socket
import time
from contextlib import suppress

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from tests.server_process import ServerProcess
from tests.system.attacks.hostile_client import (
    FORM,
    MEGABYTE,
    UPLOADS,
    bounded_growth,
    head,
    headers_of,
    part,
    send_raw,
    status_of,
)

HEADERS_SECONDS = 10.0
UPGRADE = (
    "Upgrade: websocket",
    "Connection: Upgrade",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
)
NAMES = (
    "evil.example", "127.0.0.1.evil.example", "localhost.evil.example", "evil.example@127.0.0.1", "2130706433",
    "0x7f.1", "127.1", "localhost.", "0.0.0.0", "[::]", "\xef\xbd\x8cocalhost",
    "\xe2\x91\xa0\xe2\x91\xa1\xe2\x91\xa6.0.0.1",
    "169.254.169.254", "", "a" * 5_000, "127.0.0.1, evil.example",
)  # fmt: skip
ORIGINS = (
    "null",
    "http://evil.example",
    "https://127.0.0.1.evil.example",
    "file://",
    "http://127.0.0.1:1",
    "http://127.0.0.1@evil.example",
    "",
)


def _feed(server: ServerProcess) -> str:
    return f"ws://127.0.0.1:{server.port}/ws/operations"


async def _closing(feed: object) -> int | None:
    async with asyncio.timeout(20):
        with suppress(ConnectionClosed):
            while True:
                await feed.recv()  # type: ignore[attr-defined]
    return feed.close_code  # type: ignore[attr-defined,no-any-return]


@pytest.mark.parametrize("host", NAMES)
def test_a60_other_names_of_the_server_are_refused(server: ServerProcess, host: str) -> None:
    assert status_of(send_raw(server, head(server, "GET /api/v1/collections", host=host))) in (400, 403)


@pytest.mark.parametrize("origin", ORIGINS)
def test_a61_other_sites_may_not_call(server: ServerProcess, origin: str) -> None:
    answer = send_raw(server, head(server, "GET /api/v1/collections", f"Origin: {origin}"))
    assert status_of(answer) == 403
    assert "access-control-allow-origin" not in dict(headers_of(answer))
    preflight = ("Access-Control-Request-Method: POST", f"Origin: {origin}")
    answer = send_raw(server, head(server, "OPTIONS /api/v1/search", *preflight))
    assert "access-control-allow-origin" not in dict(headers_of(answer))


@pytest.mark.parametrize(
    "line", ["X-Forwarded-For: 127.0.0.1", "Forwarded: for=127.0.0.1", "X-Real-IP: 127.0.0.1", "Via: 1.1 x"]
)
def test_a62_what_was_forwarded_is_not_local(server: ServerProcess, line: str) -> None:
    assert status_of(send_raw(server, head(server, "GET /api/v1/collections", line))) == 403


@pytest.mark.parametrize("origin", [*ORIGINS[:5], None])
def test_a63_other_sites_get_no_feed(server: ServerProcess, origin: str | None) -> None:
    lines = (*UPGRADE, f"Origin: {origin}") if origin is not None else UPGRADE
    host = None if origin is not None else "\xe9" * 90
    answer = send_raw(server, head(server, "GET /ws/operations", *lines, host=host), until=b"\r\n\r\n\x88")
    assert b"snapshot" not in answer
    assert status_of(answer) == 101
    frame = answer.partition(b"\r\n\r\n")[2]
    assert frame[0] == 0x88, "the first frame closes"
    assert frame[1] <= 125
    assert int.from_bytes(frame[2:4], "big") == 4403


async def test_a64_huge_frames_close_their_socket(server: ServerProcess) -> None:
    with bounded_growth(server, 150 * MEGABYTE):
        # The largest never reaches us whole: the server's own limit on frames ends the connection without a word.
        for message, expected in (
            ("x" * 5_000, {1009}),
            (b"x" * 5_000, {1009}),
            ("x" * 20 * MEGABYTE, {1005, 1006}),
        ):
            async with connect(_feed(server), proxy=None) as feed:
                await feed.recv()
                with suppress(ConnectionClosed):
                    await feed.send(message)
                assert await _closing(feed) in expected


async def test_a65_a_flood_of_frames_closes_its_socket(server: ServerProcess) -> None:
    async with connect(_feed(server), proxy=None) as feed:
        await feed.recv()
        with suppress(ConnectionClosed):
            for _ in range(20_000):
                await feed.send("x")
        # Our word may be lost to a client that never stops to listen: a reset connection discards what was not read.
        assert await _closing(feed) in {1006, 1008}


async def test_a66_a_user_has_so_many_feeds_and_no_more(server: ServerProcess) -> None:
    feeds = [await connect(_feed(server), proxy=None) for _ in range(30)]
    codes = [await _closing(feed) for feed in feeds[10:]]
    for feed in feeds:
        await feed.close()
    assert set(codes) == {1008}


@pytest.mark.parametrize(
    "lines",
    [
        ("Content-Length: 4", "Transfer-Encoding: chunked"),
        ("Transfer-Encoding: chunked", "Content-Length: 4"),
        ("Transfer-Encoding: chunked", "Transfer-Encoding: identity"),
        ("Transfer-Encoding: xchunked",),
        ("Transfer-Encoding: chunked, identity",),
        ("Transfer-Encoding:\x0bchunked",),
        ("Transfer-Encoding : chunked",),
        ("Content-Length: 4", "Content-Length: 5"),
        ("Content-Length: 4, 4",),
        ("Content-Length: +4",),
        ("Content-Length: -1",),
        ("Content-Length: 0x4",),
        ("Content-Length: \xb2",),
        ("Content-Length: 99999999999999999999999",),
        ("X: y\r\n Content-Length: 4",),
    ],
)
def test_a67_no_request_is_smuggled_in_another(server: ServerProcess, lines: tuple[str, ...]) -> None:
    smuggled = f"0\r\n\r\nGET /smuggled-{abs(hash(lines))} HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n\r\n"
    answer = send_raw(server, head(server, "POST /api/v1/search", *lines) + smuggled.encode())
    assert 400 <= status_of(answer) < 500
    assert answer.count(b"HTTP/1.1 ") == 1
    assert f"/smuggled-{abs(hash(lines))}" not in server.log()


def test_a68_heads_have_an_end(server: ServerProcess) -> None:
    with bounded_growth(server, 100 * MEGABYTE):
        long, many = f"X: {'a' * 2 * MEGABYTE}", [f"X-{number}: a" for number in range(20_000)]
        assert status_of(send_raw(server, head(server, "GET /health", long))) in (0, 431)
        assert status_of(send_raw(server, head(server, "GET /health", *many))) in (0, 431)
        assert status_of(send_raw(server, head(server, f"GET /{'a' * 500_000}"))) in (0, 414, 431)


def test_a69_heads_that_trickle_are_cut_off_and_hold_up_nobody(server: ServerProcess) -> None:
    slow = [socket.create_connection(("127.0.0.1", server.port), timeout=2 * HEADERS_SECONDS) for _ in range(100)]
    for client in slow:
        client.sendall(b"GET /health HTTP/1.1\r\nX: ")
    assert httpx.get(f"{server.url}/health", timeout=10).status_code == 200
    for client in slow:
        with suppress(ConnectionError):
            while client.recv(1024):
                pass
        client.close()


@pytest.mark.parametrize("is_upload", [False, True])
def test_a70_a_body_that_trickles_is_cut_off(server: ServerProcess, is_upload: bool) -> None:
    request, kind = (f"POST {UPLOADS}", FORM) if is_upload else ("POST /api/v1/search", "application/json")
    started = time.monotonic()
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as client:
        client.sendall(head(server, request, f"Content-Type: {kind}", "Content-Length: 100000"))
        client.sendall(part(b"", file_name=b"slow.txt")[:-2] if is_upload else b"{")
        client.settimeout(0.3)
        received = b""
        while not received and time.monotonic() - started < 60:
            with suppress(TimeoutError):
                client.sendall(b" ")
                received = client.recv(1024)
    assert status_of(received) == 408


@pytest.mark.parametrize("value", ["abcdefgh\rSet-Cookie: a=b", "abcdefgh%0d%0aX: y", "<script>", "x" * 500, '"}\x7f'])
def test_a71_a_request_id_is_harmless_or_ours(server: ServerProcess, value: str) -> None:
    answer = send_raw(server, head(server, "GET /api/v1/collections", f"X-Request-ID: {value}"))
    given = dict(headers_of(answer)).get("x-request-id", "")
    assert status_of(answer) in (200, 400)
    assert value not in given
    assert b"set-cookie" not in answer.lower()


def test_a72_log_lines_and_metrics_cannot_be_forged(server: ServerProcess) -> None:
    forged = '"}\n{"level": "CRITICAL", "event": "forged"}'
    escaped = forged.replace('"', "%22").replace("\n", "%0a").replace(" ", "%20")
    server.upload((forged, b"words under a forged name"))
    server.upload(("\x1b[2Jforged\r\nlevel=CRITICAL", b"other words"))
    httpx.get(f"{server.url}/{escaped}", headers={"User-Agent": "x\t" + forged.replace("\n", " ")}, timeout=60)
    for number in range(50):
        send_raw(server, head(server, f"INVENTED{number} /api/v1/collections", "Connection: close"))
        send_raw(server, head(server, f"GET /invented/{number}", "Connection: close"))
    lines = [json.loads(line) for line in server.log().splitlines()]
    assert {line["level"] for line in lines} <= {"INFO", "WARNING", "DEBUG"}
    assert all(line["event"] != "forged" for line in lines)
    assert "\x1b" not in server.log()
    assert "INVENTED" not in httpx.get(f"{server.url}/metrics", timeout=60).text
    assert "/invented/" not in httpx.get(f"{server.url}/metrics", timeout=60).text


@pytest.mark.parametrize(
    "noise",
    [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 500,
        b"\0" * 100_000,
        b"GET /health HTTP/9.9\r\n\r\n",
        b"GET\r\n\r\n",
        b"\r\n" * 10_000,
        b"SSH-2.0-x\r\n",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFFF\r\n",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n",
    ],
)
def test_a73_noise_is_refused(server: ServerProcess, noise: bytes) -> None:
    assert status_of(send_raw(server, noise)) in (0, 400, 404, 405, 408, 505)
