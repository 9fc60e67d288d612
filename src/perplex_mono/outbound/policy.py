"""Every reason for which the server may call somebody else, and what it may do then. There is no other."""

from dataclasses import dataclass
from typing import Final, Literal

Purpose = Literal["web_page", "web_search", "language_model"]
"""Pages that answers rest on; finding such pages; writing answers. Nothing asks for the last two yet."""


@dataclass(frozen=True)
class OutboundRules:
    """The limits of one purpose. Hosts that an administrator allows may lie on private addresses.

    `first_seconds` is how long an answer may take to begin, `silence_seconds` how long it may pause after that.
    """

    allowed_hosts: frozenset[str] = frozenset()
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
    "web_search": OutboundRules(max_redirects=0, media_types=frozenset({"application/json"})),
    "language_model": OutboundRules(
        max_redirects=0,
        first_seconds=60.0,
        silence_seconds=30.0,
        total_seconds=600.0,
        media_types=frozenset({"application/json", "text/event-stream"}),
    ),
}
