"""Attacks that would have the server call somebody: itself, its network, or a place that is told what is read."""

from collections.abc import Iterator, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest

from perplex_mono.errors import Forbidden, InvalidInput, PerplexError
from perplex_mono.outbound.fetcher import Fetcher
from perplex_mono.outbound.policy import OutboundRules
from tests.server_process import ServerProcess
from tests.system.attacks.hostile_client import Listener, final_documents

INWARDS = (
    "127.0.0.1", "localhost", "127.1", "2130706433", "0x7f000001", "017700000001", "0177.0.0.1", "0", "0.0.0.0",
    "[::1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "[fe80::1]",
    "[fc00::1]", "10.0.0.1", "172.16.0.1", "192.168.0.1", "100.64.0.1", "169.254.169.254", "224.0.0.1",
    "255.255.255.255", "127.0.0.1.", "LOCALHOST", "\u2460\u2461\u2466.0.0.1", "localhost%00.example.com",
)  # fmt: skip
SCHEMES = (
    "file:///etc/passwd",
    "gopher://127.0.0.1/",
    "ftp://127.0.0.1/",
    "dict://127.0.0.1/",
    "unix:///run/x",
    "data:,x",
)


@pytest.fixture(scope="module")
def proxy() -> Iterator[Listener]:
    """What the environment calls a proxy."""
    opened = Listener()
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def settings(proxy: Listener) -> Mapping[str, str]:
    """A server in whose environment there is a proxy for everything."""
    names = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy")
    return dict.fromkeys(names, f"http://127.0.0.1:{proxy.port}")


class _Redirecting(BaseHTTPRequestHandler):
    """Sends whoever asks to the address in the path."""

    def do_GET(self) -> None:
        self.send_response(302)
        self.send_header("Location", self.path[1:])
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Silent."""


@pytest.fixture
def redirecting() -> Iterator[int]:
    """The port of a site, on an address that was allowed, that redirects."""
    with HTTPServer(("127.0.0.1", 0), _Redirecting) as site:
        Thread(target=site.serve_forever, args=(0.01,), daemon=True).start()
        yield site.server_port
        site.shutdown()


@pytest.mark.parametrize("host", INWARDS)
async def test_a42_no_spelling_of_an_inner_address_is_called(listener: Listener, host: str) -> None:
    rules = OutboundRules(ports=frozenset({80, listener.port}), total_seconds=5.0)
    with pytest.raises(PerplexError):
        await Fetcher({"web_page": rules}).fetch(f"http://{host}:{listener.port}/", "web_page")
    assert listener.calls() == 0


@pytest.mark.parametrize(
    "target", [*SCHEMES, "http://127.0.0.2/", "http://[::1]/", "http://[::ffff:169.254.169.254]/latest"]
)
async def test_a43_redirects_lead_nowhere_else(redirecting: int, target: str) -> None:
    ours = frozenset({"127.0.0.1", f"127.0.0.1:{redirecting}"})
    rules = OutboundRules(allowed_hosts=ours, total_seconds=5.0)
    with pytest.raises((Forbidden, InvalidInput)):
        await Fetcher({"web_page": rules}).fetch(f"http://127.0.0.1:{redirecting}/{target}", "web_page")


async def test_a44_a_name_that_turns_inwards_is_refused(listener: Listener) -> None:
    answers = iter((["203.0.113.1", "127.0.0.1"], ["127.0.0.1"]))

    async def resolve(host: str, port: int) -> Sequence[str]:
        return next(answers)

    rules = OutboundRules(ports=frozenset({listener.port}), total_seconds=5.0)
    fetcher = Fetcher({"web_page": rules}, resolve_name=resolve)
    for _ in range(2):
        with pytest.raises(Forbidden):
            await fetcher.fetch(f"http://rebinding.example:{listener.port}/", "web_page")
    assert listener.calls() == 0


def test_a45_reading_and_searching_call_nobody(server: ServerProcess, proxy: Listener) -> None:
    page = b'<html><body><p>Harbour words</p><img src="http://example.com/a.png"><a href="http://example.com">x</a></body></html>'
    mail = b"Subject: words\r\nContent-Type: text/html\r\n\r\n<p>words <img src='http://example.com/track.gif'></p>"
    found = final_documents(server, {"a.html": page, "a.eml": mail, "a.md": b"![x](http://example.com/x.png) words"})
    assert {document["status"] for document in found.values()} == {"ready"}
    server.wait_ready()
    assert server.search("harbour words http://example.com/")["hits"]
    assert proxy.calls() == 0
