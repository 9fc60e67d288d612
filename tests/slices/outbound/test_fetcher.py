"""The one way out: a real server on loopback, which only an allowed host reaches, and every way inwards refused."""

import socket
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import get_args

import pytest

from perplex_mono.errors import Forbidden, InvalidInput, PerplexError, TooLarge, Unavailable
from perplex_mono.outbound.fetcher import Fetcher
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
        else:
            self._answer(200, PAGE, **{"Content-Type": "text/html; charset=utf-8"})

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


@pytest.fixture
def site() -> Iterator[_Server]:
    server = _Server()
    threading.Thread(target=server.serve_forever, daemon=True).start()
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


def fetcher(*, resolve_name: Names | None = None, **changes: object) -> Fetcher:
    rules = replace(OutboundRules(), **{"allowed_hosts": frozenset({"site.test"}), **changes})  # type: ignore[arg-type]
    policies: dict[Purpose, OutboundRules] = {"web_page": rules}
    return Fetcher(policies, resolve_name=resolve_name or Names("127.0.0.1"))


def url(site: _Server, path: str, host: str = "site.test") -> str:
    return f"http://{host}:{site.server_address[1]}{path}"


async def test_a_page_is_read_and_nothing_is_told_about_us(site: _Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    found = await fetcher().fetch(url(site, "/page"), "web_page")
    assert (found.status, found.media_type, found.content) == (200, "text/html", PAGE)
    (asked,) = site.seen
    assert asked["host"].startswith("site.test:")
    assert not {"cookie", "authorization", "referer", "x-forwarded-for"} & set(asked)


async def test_redirects_are_followed_without_cookies_and_not_for_ever(site: _Server) -> None:
    found = await fetcher().fetch(url(site, f"/to/{url(site, '/page')}"), "web_page")
    assert found.url == url(site, "/page")
    assert all("cookie" not in asked for asked in site.seen)
    with pytest.raises(Unavailable, match="redirects more than 5 times"):
        await fetcher().fetch(url(site, "/endless"), "web_page")
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
    rules = OutboundRules(allowed_hosts=frozenset({"127.0.0.1"}) if "127.0.0.1/" not in target else frozenset())
    real = Fetcher({"web_page": rules})
    with pytest.raises((Forbidden, InvalidInput, Unavailable)) as refusal:
        await real.fetch(target, "web_page")
    assert not isinstance(refusal.value, Unavailable) or "cannot be resolved" in str(refusal.value)
    with pytest.raises(PerplexError):
        await real.fetch(url(site, f"/to/{target}", host="127.0.0.1"), "web_page")
    assert len(site.seen) <= 1, "only the page that redirects was asked"


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
    small = fetcher(max_bytes=100_000)
    with pytest.raises(TooLarge):
        await small.fetch(url(site, "/large"), "web_page")
    for path, reason in (("/zip", "not read"), ("/gzip", "compressed"), ("/missing", "404")):
        with pytest.raises(Unavailable, match=reason):
            await small.fetch(url(site, path), "web_page")
    with pytest.raises(Unavailable, match="longer"):
        await fetcher(total_seconds=1.0).fetch(url(site, "/silent"), "web_page")


async def test_a_port_nobody_listens_on_is_unavailable() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://site.test:{free.getsockname()[1]}/"
        with pytest.raises(Unavailable):
            await fetcher().fetch(address, "web_page")


async def test_an_answer_may_take_longer_to_begin_than_to_go_on(site: _Server) -> None:
    patient = OutboundRules(
        allowed_hosts=frozenset({"site.test", "127.0.0.1", "localhost"}), first_seconds=60.0, silence_seconds=0.2
    )
    reader = Fetcher({"web_page": patient}, resolve_name=Names("127.0.0.1"))
    with pytest.raises(Unavailable, match=r"said nothing for 0\.2 s"):
        await reader.fetch(url(site, "/pausing"), "web_page")


def test_every_purpose_has_its_limits_and_models_may_think_before_they_speak() -> None:
    assert set(POLICIES) == set(get_args(Purpose))
    assert not any(rules.allowed_hosts for rules in POLICIES.values()), "private addresses are for administrators"
    model = POLICIES["language_model"]
    assert (model.connect_seconds, model.first_seconds, model.silence_seconds) == (5.0, 60.0, 30.0)
    assert {POLICIES[purpose].max_redirects for purpose in ("web_search", "language_model")} == {0}, (
        "no token elsewhere"
    )
