"""Local mode: without accounts, only this machine's own user may speak to the server.

A web page in the user's browser can reach 127.0.0.1 too, so being local is not enough: the Host must be loopback (no
rebinding), the Origin absent or our own (no cross-site posts or sockets), and nothing may have forwarded the request.
"""

import ipaddress
from collections.abc import Mapping
from functools import lru_cache
from urllib.parse import urlsplit

CLOSED_REASON = (
    "The server is bound beyond this machine and has no user yet, so it answers nothing but /health and"
    " /ready. Bind it to 127.0.0.1 (server.host) to use it without accounts."
)
REMEMBERED_HOSTS = 256
_OPEN_ROUTES = ("/health", "/ready")


@lru_cache(maxsize=REMEMBERED_HOSTS)
def is_loopback(host: str) -> bool:
    """Whether a bind address or host name means this machine only."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


class LocalGuard:
    """Says why a request is refused, or None."""

    def __init__(self, bind_host: str, base_path: str = "") -> None:
        self._is_local = is_loopback(bind_host)
        self.open_paths = frozenset(base_path.rstrip("/") + route for route in _OPEN_ROUTES)

    @property
    def is_closed(self) -> bool:
        """Bound beyond this machine and without a user, the server answers nothing but its health."""
        return not self._is_local

    def refusal(self, path: str, headers: Mapping[bytes, bytes]) -> str | None:
        """Why this request may not pass; None when it may."""
        if self.is_closed:
            if path in self.open_paths:
                return None
            return CLOSED_REASON
        host = headers.get(b"host", b"").decode("latin-1")
        if not is_loopback(_host_name(host)):
            return f"Without accounts the server is addressed as localhost or 127.0.0.1, not '{host[:100]}'."
        for name in headers:
            if name == b"forwarded" or name.startswith(b"x-forwarded-"):
                return "Without accounts the server takes no forwarded requests."
        origin = headers.get(b"origin")
        if origin is not None and not _is_own(origin.decode("latin-1"), host):
            return "This request comes from another web site; only the server's own pages may call it."
        return None


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
