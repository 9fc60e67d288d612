"""Which web addresses may be called at all, before any name is resolved."""

from urllib.parse import urlsplit

from perplex_mono.errors import Forbidden, InvalidInput
from perplex_mono.outbound.policy import DEFAULT_PORTS, OutboundRules, origin_of

MAX_URL_CHARS = 2_000


def checked_url(url: str, rules: OutboundRules, name: str) -> str:
    """The address itself, if `name` (like "web page") may be called there. Raises `InvalidInput`, `Forbidden`."""
    if len(url) > MAX_URL_CHARS or not url.isascii() or not url.isprintable() or " " in url or "\\" in url:
        raise InvalidInput(f"This is not the address of a {name}.")
    try:
        parts = urlsplit(url)
        port = parts.port or DEFAULT_PORTS.get(parts.scheme, 0)
    except ValueError as error:
        raise InvalidInput(f"This is not the address of a {name}.") from error
    if parts.scheme not in DEFAULT_PORTS or not parts.hostname:
        raise InvalidInput("Only http and https addresses are read.")
    if parts.username is not None or parts.password is not None:
        raise Forbidden("Addresses with a name and a password are not called.")
    if rules.origins is not None:
        _require_named(url, rules.origins, name)
    elif port not in rules.ports and f"{_bracketed(parts.hostname)}:{port}" not in rules.allowed_hosts:
        raise Forbidden(f"Port {port} is not called; only {', '.join(map(str, sorted(rules.ports)))}.")
    return url


def hosts_of(rules: OutboundRules) -> frozenset[str]:
    """The hosts that may lie on private addresses."""
    named = {urlsplit(origin).hostname or "" for origin in rules.origins or ()}
    return frozenset(named | {_host_of(place) for place in rules.allowed_hosts})


def _host_of(place: str) -> str:
    """The host of what may be a host, or a host with a port."""
    return urlsplit(f"//{place}").hostname or "" if _has_port(place) else place


def shown_host(url: str) -> str:
    """Host and port of an address, for messages."""
    try:
        return origin_of(url).partition("://")[2]
    except ValueError:
        return "?"


def _has_port(place: str) -> bool:
    return place.count(":") == 1 or place.startswith("[")


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _require_named(url: str, origins: frozenset[str], name: str) -> None:
    if origin_of(url) not in origins:
        there_is = f"only {', '.join(sorted(origins))}" if origins else "none is set"
        raise Forbidden(f"{origin_of(url)} is not the address of the {name}: {there_is}.")
