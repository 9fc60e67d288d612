"""Every reason for which the server may call somebody else, and what it may do then. There is no other."""

from dataclasses import dataclass
from typing import Final, Literal

Purpose = Literal["web_page"]
"""Pages that answers rest on. Language models and web search get an entry of their own with the feature."""


@dataclass(frozen=True)
class OutboundRules:
    """The limits of one purpose. Hosts that an administrator allows may lie on private addresses."""

    allowed_hosts: frozenset[str] = frozenset()
    ports: frozenset[int] = frozenset({80, 443})
    max_redirects: int = 5
    max_bytes: int = 5_000_000
    connect_seconds: float = 5.0
    read_seconds: float = 10.0
    total_seconds: float = 20.0
    media_types: frozenset[str] = frozenset({"text/html", "application/xhtml+xml", "text/plain", "application/pdf"})


POLICIES: Final[dict[Purpose, OutboundRules]] = {"web_page": OutboundRules()}
