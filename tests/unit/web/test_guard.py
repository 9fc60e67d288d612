"""Local mode: this machine's own user and nobody else; bound elsewhere, closed; with users, known names only."""

from typing import Any

import pytest

from perplex_mono.web.guard import RequestGuard, is_loopback, network_of

Headers = dict[bytes, bytes]


def refusal(host: str | None, **headers: str) -> str | None:
    raw: Headers = {} if host is None else {b"host": host.encode("latin-1")}
    raw |= {name.replace("_", "-").encode(): value.encode("latin-1") for name, value in headers.items()}
    return RequestGuard("127.0.0.1").refusal("/api/v1/collections", raw)


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "localhost:8080",
        "LOCALHOST:8080",
        "127.0.0.1",
        "127.0.0.1:8080",
        "127.8.9.1:1",
        "[::1]",
        "[::1]:80",
    ],
)
def test_names_of_this_machine_pass(host: str) -> None:
    assert refusal(host) is None


@pytest.mark.parametrize(
    "host",
    [
        None,
        "",
        ":8080",
        "example.org",
        "localhost.example.org",
        "127.0.0.1.nip.io",
        "127.0.0.1.example.org:8080",
        "notlocalhost",
        "localhost.",
        "192.168.1.5:8080",
        "0.0.0.0:8080",
        "[::]:8080",
        "[fe80::1]:8080",
        "[2001:db8::1]",
        "2130706433",
        "0x7f000001",
        "127.1",
        "[::1",
        "[127.0.0.1.example.org]",
        "lo\xe7alhost",
    ],
)
def test_any_other_name_is_refused(host: str | None) -> None:
    reason = refusal(host)
    assert reason is not None
    assert "localhost" in reason


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("localhost:8080", "http://localhost:8080"),
        ("127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("[::1]:8080", "http://[::1]:8080"),
        ("LocalHost:8080", "http://LOCALHOST:8080"),
        ("localhost", "https://localhost"),
    ],
)
def test_our_own_pages_pass(host: str, origin: str) -> None:
    assert refusal(host, origin=origin) is None


@pytest.mark.parametrize(
    "origin",
    [
        "http://example.org",
        "http://localhost:3000",
        "http://localhost",
        "http://127.0.0.1:8080",
        "http://localhost:8080.example.org",
        "http://localhost:80801",
        "http://localhost:8080/",
        "http://x@localhost:8080",
        "ws://localhost:8080",
        "file://",
        "null",
        "",
    ],
)
def test_pages_of_other_sites_are_refused(origin: str) -> None:
    reason = refusal("localhost:8080", origin=origin)
    assert reason is not None
    assert "another web site" in reason


@pytest.mark.parametrize(
    "header", ["forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-forwarded-anything"]
)
def test_forwarded_requests_are_refused(header: str) -> None:
    reason = refusal("localhost", **{header: "for=127.0.0.1"})
    assert reason is not None
    assert "forwarded" in reason


@pytest.mark.parametrize("bound", ["0.0.0.0", "::", "192.168.1.5", "example.org", ""])
def test_bound_elsewhere_nothing_but_health_answers(bound: str) -> None:
    guard = RequestGuard(bound)
    assert guard.mode == "closed"
    headers = {b"host": b"localhost:8080"}
    assert guard.refusal("/health", headers) is None
    assert guard.refusal("/ready", {b"host": b"example.org"}) is None
    assert guard.refusal("/api/v1/auth/setup", headers) is None
    assert guard.refusal("/api/v1/auth/setup", {b"host": b"example.org"}) is not None
    for path in (
        "/",
        "/api/v1/auth/login",
        "/api/v1/collections",
        "/metrics",
        "/schema/openapi.json",
        "/ws/operations",
        "/health/",
    ):
        assert guard.refusal(path, headers) is not None


def with_users(bound: str = "0.0.0.0", **lists: Any) -> RequestGuard:
    return RequestGuard(bound, has_users=lambda: True, **lists)


@pytest.mark.parametrize("bound", ["0.0.0.0", "127.0.0.1"])
@pytest.mark.parametrize(
    "host", ["localhost:8080", "192.168.1.5:8080", "[fe80::1]:8080", "docs.example.com", "DOCS.example.com:443"]
)
def test_with_users_the_server_answers_to_addresses_and_to_names_it_was_given(bound: str, host: str) -> None:
    guard = with_users(bound, allowed_hosts=["docs.example.com"])
    assert guard.mode == "accounts"
    assert guard.refusal("/api/v1/collections", {b"host": host.encode(), b"x-forwarded-for": b"1.2.3.4"}) is None


@pytest.mark.parametrize(
    "host", ["evil.example", "docs.example.com.evil.example", "x.docs.example.com", "", "a@docs.example.com"]
)
def test_with_users_other_names_are_refused_and_the_setting_is_named(host: str) -> None:
    guard = with_users(allowed_hosts=["docs.example.com"])
    assert "server.allowed_hosts" in str(guard.refusal("/api/v1/collections", {b"host": host.encode()}))
    assert guard.refusal("/health", {b"host": host.encode()}) is None


@pytest.mark.parametrize(
    ("origin", "passes"),
    [
        ("https://docs.example.com", True),
        ("https://app.example.com", True),
        ("https://APP.example.com", True),
        ("https://app.example.com.evil.example", False),
        ("http://app.example.com", False),
        ("null", False),
    ],
)
def test_with_users_only_listed_origins_may_call(origin: str, passes: bool) -> None:
    guard = with_users(allowed_hosts=["docs.example.com"], allowed_origins=["https://app.example.com/"])
    headers = {b"host": b"docs.example.com", b"origin": origin.encode()}
    assert (guard.refusal("/api/v1/search", headers) is None) is passes


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("203.0.113.9", "198.51.100.1", "203.0.113.9"),  # not from our proxy: what it says does not count
        ("10.0.0.2", "198.51.100.1", "198.51.100.1"),
        ("10.0.0.2", "6.6.6.6, 198.51.100.1", "198.51.100.1"),  # the client wrote the first one
        ("10.0.0.2", "198.51.100.1, 10.0.0.3", "198.51.100.1"),  # through two of our proxies
        ("10.0.0.2", "not an address", "10.0.0.2"),
        ("10.0.0.2", "", "10.0.0.2"),
        ("::1", "198.51.100.1", "::1"),
        ("::ffff:10.0.0.2", "198.51.100.1", "198.51.100.1"),  # the proxy, as a socket of both families names it
        ("10.0.0.2", "[2001:db8::1]", "2001:db8::1"),
    ],
)
def test_the_address_of_a_client_comes_from_trusted_proxies_only(peer: str, forwarded: str, client: str) -> None:
    guard = with_users(trusted_proxies=["10.0.0.0/8"])
    assert guard.client_address(peer, {b"x-forwarded-for": forwarded.encode()}) == client


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("[::1]", True), ("Localhost", True), ("0.0.0.0", False)],
)
def test_loopback_addresses(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


@pytest.mark.parametrize(
    ("address", "counted"),
    [
        ("198.51.100.1", "198.51.100.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("::ffff:198.51.100.1", "::ffff:198.51.100.1"),  # an address of the fourth version, whatever it is written as
        ("not an address", "not an address"),
    ],
)
def test_whoever_has_a_whole_network_is_counted_once(address: str, counted: str) -> None:
    assert network_of(address) == counted


def test_pages_of_listed_origins_may_read_answers_and_no_others() -> None:
    guard = with_users(allowed_origins=["https://app.example.com"])
    headers = dict(guard.cors_headers({b"origin": b"https://app.example.com"}))
    assert headers[b"access-control-allow-origin"] == b"https://app.example.com"
    assert headers[b"vary"] == b"Origin"
    for origin in (b"https://evil.example", b"null", b""):
        assert guard.cors_headers({b"origin": origin}) == []
    assert RequestGuard("127.0.0.1", allowed_origins=["https://app.example.com"]).cors_headers(headers) == []
