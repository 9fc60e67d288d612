"""The one way out: a real server on loopback, which only an allowed host reaches, and every way inwards refused."""

import asyncio
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import aclosing
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import get_args

import pytest

from perplex_mono.errors import Forbidden, InvalidInput, PerplexError, TooLarge, Unavailable
from perplex_mono.outbound.fetcher import AnsweredError, Fetcher
from perplex_mono.outbound.policy import POLICIES, OutboundRules, Purpose

PAGE = b"<h1>Tides</h1>"


class _Site(BaseHTTPRequestHandler):
    """`/page`, redirects by `/to/<address>`, and what misbehaves."""

    protocol_version = "HTTP/1.1"
    seen: list[dict[str, str]]

    def do_GET(self) -> None:
        self.server.seen.append({name.lower(): value for name, value in self.headers.items()})  # type: ignore[attr-defined]
        if self.path.startswith("/to/"):
            self._answer(302, b"", Location=self.path.removeprefix("/to/"))
        elif self.path == "/endless":
            self._answer(302, b"", Location="/endless")
        elif self.path == "/large":
            self._answer(200, b"x" * 200_000, **{"Content-Type": "text/plain"})
        elif self.path == "/zip":
            self._answer(200, PAGE, **{"Content-Type": "application/zip"})
        elif self.path == "/gzip":
            self._answer(200, PAGE, **{"Content-Type": "text/html", "Content-Encoding": "gzip"})
        elif self.path == "/silent":
            self.server.released.wait(30)  # type: ignore[attr-defined]
        elif self.path == "/pausing":
            self._answer(200, PAGE, **{"Content-Type": "text/html", "Content-Length": str(2 * len(PAGE))})
            self.server.released.wait(30)  # type: ignore[attr-defined]
        elif self.path == "/missing":
            self._answer(404, PAGE, **{"Content-Type": "text/html"})
        elif self.path == "/story":
            self._tell()
        else:
            self._answer(200, PAGE, **{"Content-Type": "text/html; charset=utf-8"})

    def do_POST(self) -> None:
        asked = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.seen.append({name.lower(): value for name, value in self.headers.items()} | {"": asked.decode()})  # type: ignore[attr-defined]
        if self.path == "/story":
            self._tell()
        elif self.path == "/elsewhere":
            self._answer(307, b"", Location="http://127.0.0.1:9/")
        else:
            told = b'{"error": "no such\r\nmodel ' + b"x" * 1000 + b'"}'
            self._answer(404, told, **{"Content-Type": "application/json"})

    def _tell(self) -> None:
        """Half a stream of events; the other half once it is released."""
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        try:
            self.wfile.write(b"data: once\n\n")
            self.wfile.flush()
            self.server.released.wait(30)  # type: ignore[attr-defined]
            for _ in range(1000):
                self.wfile.write(b"data: upon a time\n\n" * 1000)
        except OSError:
            self.server.hung_up.set()  # type: ignore[attr-defined]
        self.close_connection = True

    def _answer(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), "Set-Cookie": "a=b", **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Silent."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Site)
        self.seen: list[dict[str, str]] = []
        self.released = threading.Event()
        self.hung_up = threading.Event()


@pytest.fixture
def site() -> Iterator[_Server]:
    server = _Server()
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield server
    server.released.set()
    server.shutdown()
    server.server_close()


class Names:
    """A resolver that says what it is told, one answer after another."""

    def __init__(self, *answers: str) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked.append(host)
        return [self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]]


def fetcher(site: _Server | None = None, *, resolve_name: Names | None = None, **changes: object) -> Fetcher:
    """One that may read the site's pages."""
    allowed = {"site.test", f"site.test:{site.server_address[1]}"} if site else {"site.test"}
    rules = replace(OutboundRules(), **{"allowed_hosts": frozenset(allowed), **changes})  # type: ignore[arg-type]
    policies: dict[Purpose, OutboundRules] = {"web_page": rules}
    return Fetcher(policies, resolve_name=resolve_name or Names("127.0.0.1"))


def url(site: _Server, path: str, host: str = "site.test") -> str:
    return f"http://{host}:{site.server_address[1]}{path}"


async def test_a_page_is_read_and_nothing_is_told_about_us(site: _Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    found = await fetcher(site).fetch(url(site, "/page"), "web_page")
    assert (found.status, found.media_type, found.content) == (200, "text/html", PAGE)
    (asked,) = site.seen
    assert asked["host"].startswith("site.test:")
    assert not {"cookie", "authorization", "referer", "x-forwarded-for"} & set(asked)


async def test_redirects_are_followed_without_cookies_and_not_for_ever(site: _Server) -> None:
    found = await fetcher(site).fetch(url(site, f"/to/{url(site, '/page')}"), "web_page")
    assert found.url == url(site, "/page")
    assert all("cookie" not in asked for asked in site.seen)
    with pytest.raises(Unavailable, match="redirects more than 5 times"):
        await fetcher(site).fetch(url(site, "/endless"), "web_page")
    assert len(site.seen) == 2 + 6


@pytest.mark.parametrize(
    "target",
    [
        "http://127.0.0.1/",
        "http://localhost/",
        "http://[::1]/",
        "http://169.254.169.254/latest/meta-data/",
        "http://[::ffff:127.0.0.1]/",
        "http://2130706433/",
        "http://0x7f000001/",
        "http://0177.0.0.1/",
        "http://127.1/",
        "http://0/",
        "http://[fe80::1%25eth0]/",
        "http://10.0.0.1/",
    ],
)
async def test_nothing_inside_is_reached_directly_or_by_a_redirect(site: _Server, target: str) -> None:
    """With the system's own resolver, which understands the odd spellings."""
    ours = {"127.0.0.1", f"127.0.0.1:{site.server_address[1]}"}
    rules = OutboundRules(allowed_hosts=frozenset(ours) if "127.0.0.1/" not in target else frozenset())
    real = Fetcher({"web_page": rules})
    with pytest.raises((Forbidden, InvalidInput, Unavailable)) as refusal:
        await real.fetch(target, "web_page")
    assert not isinstance(refusal.value, Unavailable) or "cannot be resolved" in str(refusal.value)
    with pytest.raises(PerplexError):
        await real.fetch(url(site, f"/to/{target}", host="127.0.0.1"), "web_page")
    assert len(site.seen) == (0 if "127.0.0.1/" in target else 1), "only the page that redirects was asked"


async def test_what_is_checked_is_what_is_connected_to(site: _Server) -> None:
    """A name whose first answer is public and whose second is not: it is asked once, and that answer is used."""
    names = Names("203.0.113.1", "127.0.0.1")
    with pytest.raises(Forbidden, match=r"203\.0\.113\.1"):
        await fetcher(resolve_name=names).fetch("http://rebinding.test/", "web_page")
    assert names.asked == ["rebinding.test"]
    assert site.seen == []


async def test_one_private_address_among_public_ones_is_enough_to_refuse(site: _Server) -> None:
    async def several(host: str, port: int) -> Sequence[str]:
        return ["8.8.8.8", "127.0.0.1"]

    with pytest.raises(Forbidden):
        await Fetcher({"web_page": OutboundRules()}, resolve_name=several).fetch("http://several.test/", "web_page")


@pytest.mark.parametrize(
    ("address", "kind"),
    [
        ("file:///etc/passwd", InvalidInput),
        ("ftp://site.test/", InvalidInput),
        ("gopher://site.test/", InvalidInput),
        ("javascript:alert(1)", InvalidInput),
        ("//site.test/", InvalidInput),
        ("http:///path", InvalidInput),
        ("http://site.test\\@evil.test/", InvalidInput),
        ("http://site.test /", InvalidInput),
        ("http://site.test/\r\nX: y", InvalidInput),
        ("http://" + "a" * 3000, InvalidInput),
        ("http://site.test:99999/", InvalidInput),
        ("http://user:secret@site.test/", Forbidden),
        ("http://other.test:22/", Forbidden),
        ("http://other.test:6379/", Forbidden),
    ],
)
async def test_other_schemes_ports_and_tricks_are_refused(address: str, kind: type[PerplexError]) -> None:
    names = Names("8.8.8.8")
    with pytest.raises(kind):
        await fetcher(resolve_name=names).fetch(address, "web_page")
    assert names.asked == []


async def test_what_is_too_much_too_odd_or_too_slow_is_told(site: _Server) -> None:
    small = fetcher(site, max_bytes=100_000)
    with pytest.raises(TooLarge):
        await small.fetch(url(site, "/large"), "web_page")
    for path, reason in (("/zip", "not read"), ("/gzip", "compressed"), ("/missing", "404")):
        with pytest.raises(Unavailable, match=reason):
            await small.fetch(url(site, path), "web_page")
    with pytest.raises(Unavailable, match="longer"):
        await fetcher(site, total_seconds=1.0).fetch(url(site, "/silent"), "web_page")


async def test_a_port_nobody_listens_on_is_unavailable() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        with pytest.raises(Unavailable, match=r"site\.test:\d+ cannot be reached"):
            await fetcher(ports=frozenset({port})).fetch(f"http://site.test:{port}/", "web_page")


@pytest.mark.parametrize(
    ("said", "told"), [(b"SSH-2.0-OpenSSH\r\n", "does not speak HTTP"), (b"", "does not speak HTTP")]
)
async def test_what_is_no_web_server_is_told(said: bytes, told: str) -> None:
    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(said)
        writer.close()

    async with await asyncio.start_server(speak, "127.0.0.1", 0) as other:
        port = other.sockets[0].getsockname()[1]
        with pytest.raises(Unavailable, match=told):
            await fetcher(ports=frozenset({port})).fetch(f"http://site.test:{port}/", "web_page")


async def test_an_answer_may_take_longer_to_begin_than_to_go_on(site: _Server) -> None:
    patient = OutboundRules(
        allowed_hosts=frozenset({"site.test"}),
        ports=frozenset({site.server_address[1]}),
        first_seconds=60.0,
        silence_seconds=0.2,
    )
    reader = Fetcher({"web_page": patient}, resolve_name=Names("127.0.0.1"))
    with pytest.raises(Unavailable, match=r"said nothing for 0\.2 s"):
        await reader.fetch(url(site, "/pausing"), "web_page")


def service(site: _Server, **changes: object) -> Fetcher:
    """One that may call the site as the language model that the operator named."""
    origin = f"http://site.test:{site.server_address[1]}"
    rules = replace(POLICIES["language_model"], origins=frozenset({origin}), **changes)  # type: ignore[arg-type]
    return Fetcher({"language_model": rules}, resolve_name=Names("127.0.0.1"))


async def test_a_stream_is_read_as_it_arrives_and_left_when_nobody_listens(site: _Server) -> None:
    asked = service(site).stream(url(site, "/story"), "language_model", content=b'{"stream": true}', token="s3cret")
    async with asked as answer:
        assert (answer.status, answer.media_type) == (200, "text/event-stream")
        async with aclosing(answer.parts) as parts:
            assert await anext(parts) == b"data: once\n\n", "before the rest of it exists"
    site.released.set()
    assert await asyncio.to_thread(site.hung_up.wait, 10)
    (seen,) = site.seen
    assert (seen["authorization"], seen["content-type"], seen[""]) == (
        "Bearer s3cret",
        "application/json",
        '{"stream": true}',
    )


async def test_a_stream_has_its_limits_too(site: _Server) -> None:
    async def read(**limits: object) -> None:
        asked = service(site, **limits).stream(url(site, "/story"), "language_model", content=b"{}")
        async with asked as answer, aclosing(answer.parts) as parts:
            async for _ in parts:
                pass

    with pytest.raises(Unavailable, match=r"language model is not available: it said nothing for 0\.2 s"):
        await read(silence_seconds=0.2)
    with pytest.raises(Unavailable, match="longer than 1 s"):
        await read(total_seconds=1.0)
    site.released.set()
    with pytest.raises(TooLarge, match="more than 100000 bytes"):
        await read(max_bytes=100_000)


async def test_a_time_limit_of_the_callers_own_is_not_taken_for_one_of_the_call(site: _Server) -> None:
    with pytest.raises(TimeoutError):
        async with service(site).stream(url(site, "/story"), "language_model", content=b"{}"):
            raise TimeoutError


async def test_what_speaks_no_tls_is_told_from_what_cannot_be_reached() -> None:
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-OpenSSH\r\n")
        writer.close()

    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    for speak, told in ((greet, "speaks no TLS"), (hang_up, "cannot be reached")):
        async with await asyncio.start_server(speak, "127.0.0.1", 0) as other:
            port = other.sockets[0].getsockname()[1]
            with pytest.raises(Unavailable, match=told):
                await fetcher(ports=frozenset({port})).fetch(f"https://site.test:{port}/", "web_page")


async def test_a_private_host_is_called_at_the_ports_that_were_named(site: _Server) -> None:
    only_host = fetcher(allowed_hosts=frozenset({"site.test"}))
    for path in ("/page", "/to/http://site.test:6379/"):
        with pytest.raises(Forbidden, match="Port"):
            await only_host.fetch(url(site, path), "web_page")
    assert site.seen == []
    with pytest.raises(Forbidden, match="Port 6379"):
        await fetcher(site).fetch(url(site, "/to/http://site.test:6379/"), "web_page")
    assert len(site.seen) == 1


async def test_the_status_of_an_error_is_told_though_its_body_breaks_off() -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 100\r\n\r\nno key")
        writer.close()

    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as other:
        origin = f"http://site.test:{other.sockets[0].getsockname()[1]}"
        rules = replace(POLICIES["language_model"], origins=frozenset({origin}))
        with pytest.raises(AnsweredError) as failure:
            await Fetcher({"language_model": rules}, resolve_name=Names("127.0.0.1")).fetch(origin, "language_model")
    assert (failure.value.status, failure.value.told) == (401, "no key")


async def test_what_a_service_says_of_an_error_is_told_in_short_and_of_a_page_nothing(site: _Server) -> None:
    with pytest.raises(AnsweredError) as failure:
        await service(site).fetch(url(site, "/chat"), "language_model", content=b"{}")
    assert failure.value.status == 404
    assert failure.value.told.startswith('{"error": "no such model xxx')
    assert len(failure.value.told) == 200
    with pytest.raises(AnsweredError) as failure:
        await fetcher(site).fetch(url(site, "/missing"), "web_page")
    assert (failure.value.status, failure.value.told) == (404, "")


async def test_a_service_is_called_at_its_own_address_only_and_leads_nowhere_else(site: _Server) -> None:
    port = site.server_address[1]
    for other in (
        "http://site.test/",
        f"https://site.test:{port}/",
        f"http://127.0.0.1:{port}/",
        "http://example.com/",
    ):
        with pytest.raises(Forbidden, match=f"only http://site.test:{port}"):
            await service(site).fetch(other, "language_model", content=b"{}", token="s3cret")
    assert site.seen == []
    with pytest.raises(Unavailable, match="redirects"):
        await service(site).fetch(url(site, "/elsewhere"), "language_model", content=b"{}", token="s3cret")
    assert len(site.seen) == 1


async def test_pages_are_sent_neither_credentials_nor_bodies(site: _Server) -> None:
    for given in ({"token": "s3cret"}, {"content": b"{}"}):
        with pytest.raises(Forbidden, match="credentials or bodies"):
            await fetcher(site).fetch(url(site, "/page"), "web_page", **given)
    assert site.seen == []


@pytest.mark.parametrize("purpose", ["web_search", "language_model"])
async def test_without_settings_no_service_is_called(site: _Server, purpose: Purpose) -> None:
    with pytest.raises(Forbidden, match="none is set"):
        await Fetcher().fetch(url(site, "/page", host="127.0.0.1"), purpose)
    assert site.seen == []


def test_every_purpose_has_its_limits_and_models_may_think_before_they_speak() -> None:
    assert set(POLICIES) == set(get_args(Purpose))
    assert not any(rules.allowed_hosts for rules in POLICIES.values()), "private addresses are for administrators"
    model = POLICIES["language_model"]
    assert (model.connect_seconds, model.first_seconds, model.silence_seconds) == (5.0, 60.0, 30.0)
    assert {POLICIES[purpose].max_redirects for purpose in ("web_search", "language_model")} == {0}, (
        "no token elsewhere"
    )
