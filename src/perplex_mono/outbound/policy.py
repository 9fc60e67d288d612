"""Every reason for which the server may call somebody else, and what it may do then. There is no other."""

from dataclasses import dataclass, replace
from typing import Final, Literal
from urllib.parse import urlsplit

from perplex_mono.settings import Settings

Purpose = Literal["web_page", "web_search", "language_model"]
"""Pages that answers rest on; finding such pages; writing answers."""

DEFAULT_PORTS: Final = {"http": 80, "https": 443}


@dataclass(frozen=True)
class OutboundRules:
    """The limits of one purpose.

    `allowed_hosts` may lie on private addresses; one with a port (`wiki.lan:8080`) may be called there too. With
    `origins` (like `http://127.0.0.1:8888`) those alone are called, wherever they lie, since the operator named them;
    only they are sent bodies and credentials, and what they say of an error is told. `first_seconds` is how long an
    answer may take to begin, `silence_seconds` how long it may pause.
    """

    allowed_hosts: frozenset[str] = frozenset()
    origins: frozenset[str] | None = None
    ports: frozenset[int] = frozenset({80, 443})
    max_redirects: int = 5
    max_bytes: int = 5_000_000
    connect_seconds: float = 5.0
    first_seconds: float = 10.0
    silence_seconds: float = 10.0
    total_seconds: float = 20.0
    media_types: frozenset[str] = frozenset({"text/html", "application/xhtml+xml", "text/plain", "application/pdf"})


POLICIES: Final[dict[Purpose, OutboundRules]] = {
    "web_page": OutboundRules(),
    "web_search": OutboundRules(origins=frozenset(), max_redirects=0, media_types=frozenset({"application/json"})),
    "language_model": OutboundRules(
        origins=frozenset(),
        max_redirects=0,
        first_seconds=60.0,
        silence_seconds=30.0,
        total_seconds=600.0,
        media_types=frozenset({"application/json", "application/x-ndjson", "text/event-stream"}),
    ),
}
"""What holds where no setting says more: public pages, and no service at all."""


def policies_of(settings: Settings) -> dict[Purpose, OutboundRules]:
    """The rules under these settings."""
    outbound, llm, web_search = settings.outbound, settings.llm, settings.web_search
    addresses: dict[Purpose, str] = {"web_search": web_search.searxng_url}
    if llm.provider != "none":  # which says how that address is spoken to
        addresses["language_model"] = llm.base_url
    private = frozenset(host.lower() for host in outbound.private_hosts)
    named = {purpose: frozenset({origin_of(address)}) for purpose, address in addresses.items() if address}
    return {
        "web_page": replace(POLICIES["web_page"], allowed_hosts=private),
        "web_search": replace(POLICIES["web_search"], origins=named.get("web_search", frozenset())),
        "language_model": replace(POLICIES["language_model"], origins=named.get("language_model", frozenset())),
    }


def origin_of(url: str) -> str:
    """Scheme, host and port, which is always written. Raises `ValueError` for what has no such thing."""
    parts = urlsplit(url)
    if parts.scheme not in DEFAULT_PORTS or not parts.hostname:
        raise ValueError(f"'{url}' has no origin")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}:{parts.port or DEFAULT_PORTS[parts.scheme]}"
