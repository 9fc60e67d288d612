"""Which requests may be heard at all, before anybody asks who makes them: names, origins, forwarding.

There are three modes. Without users and bound to loopback the server is in local mode: only this machine's own user may
speak to it. A web page in that user's browser can reach 127.0.0.1 too, so being local is not enough: the Host must be
loopback (no rebinding), the Origin absent or our own (no cross-site posts or sockets), and nothing may have forwarded
the request. Without users and bound elsewhere it is closed: health and set-up only. With users it asks for accounts,
and still answers only to names it knows.
"""

import ipaddress
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Literal
from urllib.parse import urlsplit

Mode = Literal["local", "closed", "accounts"]
Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

CLOSED_REASON = (
    "The server is bound beyond this machine and has no user yet, so it answers nothing but /health, /ready and"
    " POST /api/v1/auth/setup. Make the first user with the set-up token, which the log shows as setup_code"
    " (`perplex-mono user setup NAME --token-file FILE`), or bind the server to 127.0.0.1 (server.host) to use it"
    " without accounts."
)
REMEMBERED_HOSTS = 256
EXPOSED_HEADERS = "Retry-After, X-Request-ID"
_HEALTH_ROUTES = ("/health", "/ready")
_FORWARDED = frozenset({b"forwarded", b"via", b"x-real-ip"})
_SETUP_ROUTE = "/api/v1/auth/setup"


class RequestGuard:
    """Says why a request is refused, or None."""

    def __init__(
        self,
        bind_host: str,
        base_path: str = "",
        *,
        has_users: Callable[[], bool] = lambda: False,
        allowed_hosts: Sequence[str] = (),
        allowed_origins: Sequence[str] = (),
        trusted_proxies: Sequence[str] = (),
    ) -> None:
        base = base_path.rstrip("/")
        self._is_bound_here = is_loopback(bind_host)
        self._has_users = has_users
        self._hosts = frozenset(host.lower() for host in allowed_hosts)
        self._origins = frozenset(origin.lower().rstrip("/") for origin in allowed_origins)
        self._proxies = [ipaddress.ip_network(network) for network in trusted_proxies]
        self._setup_path = base + _SETUP_ROUTE
        self.open_paths = frozenset(base + route for route in _HEALTH_ROUTES)

    @property
    def mode(self) -> Mode:
        """What the server is now; set-up takes it from the first two to the last."""
        if self._has_users():
            return "accounts"
        return "local" if self._is_bound_here else "closed"

    def refusal(self, path: str, headers: Mapping[bytes, bytes]) -> str | None:
        """Why this request may not pass; None when it may."""
        mode = self.mode
        if mode == "local":
            return self._local_refusal(headers)
        if path in self.open_paths:
            return None
        if mode == "closed" and path != self._setup_path:
            return CLOSED_REASON
        return self._foreign_refusal(headers)

    def cors_headers(self, headers: Mapping[bytes, bytes]) -> list[tuple[bytes, bytes]]:
        """What lets a page of a listed origin read an answer; nothing for any other."""
        origin = headers.get(b"origin", b"")
        if self.mode == "local" or origin.decode("latin-1").lower() not in self._origins:
            return []
        return [
            (b"access-control-allow-origin", origin),
            (b"access-control-expose-headers", EXPOSED_HEADERS.encode()),
            (b"vary", b"Origin"),
        ]

    def client_address(self, peer: str, headers: Mapping[bytes, bytes]) -> str:
        """Who sent the request: the peer, or whom a trusted proxy names as the nearest that is none itself."""
        here = _address(peer)
        if here is None or not self._is_trusted(here):
            return peer if here is None else str(here)
        chain = headers.get(b"x-forwarded-for", b"").decode("latin-1").split(",")
        for text in reversed([part.strip() for part in chain if part.strip()]):
            address = _address(text)
            if address is None:
                break
            if not self._is_trusted(address):
                return str(address)
        return str(here)

    def _local_refusal(self, headers: Mapping[bytes, bytes]) -> str | None:
        host = headers.get(b"host", b"").decode("latin-1")
        if not is_loopback(_host_name(host)):
            return f"Without accounts the server is addressed as localhost or 127.0.0.1, not '{host[:100]}'."
        for name in headers:
            if name in _FORWARDED or name.startswith(b"x-forwarded-"):
                return "Without accounts the server takes no forwarded requests."
        origin = headers.get(b"origin")
        if origin is not None and not _is_own(origin.decode("latin-1"), host):
            return "This request comes from another web site; only the server's own pages may call it."
        return None

    def _foreign_refusal(self, headers: Mapping[bytes, bytes]) -> str | None:
        """Addresses need not be listed: only a name can be made to point elsewhere."""
        host = headers.get(b"host", b"").decode("latin-1")
        name = _host_name(host)
        if not (is_loopback(name) or _address(name) is not None or name in self._hosts):
            return f"The server does not know itself as '{name[:100]}'; add that name to server.allowed_hosts."
        origin = headers.get(b"origin")
        if origin is None:
            return None
        text = origin.decode("latin-1").lower()
        if not _is_own(text, host) and text not in self._origins:
            return "This request comes from another web site; server.allowed_origins lists those that may call."
        return None

    def _is_trusted(self, address: Address) -> bool:
        return any(address in network for network in self._proxies if network.version == address.version)


def network_of(address: str) -> str:
    """Whom to count for an address: itself, or the /64 of an IPv6 one, of which its owner has every address."""
    parsed = _address(address)
    if parsed is None or parsed.version == 4:
        return address
    return str(ipaddress.ip_network((parsed, 64), strict=False))


@lru_cache(maxsize=REMEMBERED_HOSTS)
def is_loopback(host: str) -> bool:
    """Whether a bind address or host name means this machine only."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


@lru_cache(maxsize=REMEMBERED_HOSTS)
def _address(text: str) -> Address | None:
    """An address as it is written in headers and by sockets: in brackets, or an IPv4 one inside an IPv6 one."""
    try:
        address = ipaddress.ip_address(text.strip("[]"))
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


@lru_cache(maxsize=REMEMBERED_HOSTS)
def _host_name(host: str) -> str:
    if "@" in host:
        return ""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _is_own(origin: str, host: str) -> bool:
    return origin.lower() in (f"http://{host.lower()}", f"https://{host.lower()}")
