"""What types and bounds cannot say of settings: which contradict each other, and which could never work."""

import ipaddress
import re
from urllib.parse import urlsplit

from perplex_mono.errors import ConfigurationError
from perplex_mono.settings.schema import ChunkingSettings, LlmSettings, ServerSettings, Settings, TelemetrySettings

_PLACE = re.compile(r"([A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\])(:[1-9][0-9]{0,4})?")
MAX_URL_CHARS = 1_000


def require_consistent(settings: Settings) -> None:
    """Raise `ConfigurationError` for settings that contradict each other, or that can never work."""
    _require_room_in_chunks(settings.chunking)
    _require_usable_lists(settings.server)
    if settings.server.base_path and not settings.server.base_path.startswith("/"):
        raise ConfigurationError("server.base_path must start with '/', for example '/documents'.")
    if settings.telemetry.metrics_port == settings.server.port:
        raise ConfigurationError("telemetry.metrics_port must be another port than server.port.")
    _require_collector(settings.telemetry)
    for host in settings.outbound.private_hosts:
        if not _PLACE.fullmatch(host) and not _is_address(host):
            raise ConfigurationError(
                f"outbound.private_hosts: '{host}' is not a host, like wiki.example.lan, or wiki.example.lan:8080 for"
                " another port than 80 and 443; without scheme and '*'."
            )
    _require_language_model(settings.llm)
    if settings.web_search.searxng_url:
        _require_address("web_search.searxng_url", settings.web_search.searxng_url, "http://127.0.0.1:8888")


def _require_room_in_chunks(chunking: ChunkingSettings) -> None:
    if chunking.overlap_tokens > chunking.max_tokens // 2:
        raise ConfigurationError(
            f"chunking.overlap_tokens ({chunking.overlap_tokens}) must be at most half of"
            f" chunking.max_tokens ({chunking.max_tokens})."
        )


def _require_usable_lists(server: ServerSettings) -> None:
    """Refuse lists that would let everybody in, or that can never match."""
    for host in server.allowed_hosts:
        if "*" in host or "/" in host or host != host.strip() or not host:
            raise ConfigurationError(
                f"server.allowed_hosts: '{host}' is not the name of a host, like docs.example.com."
            )
    for origin in server.allowed_origins:
        parts = urlsplit(origin)
        if "*" in origin or parts.scheme not in ("http", "https") or not parts.hostname or parts.path not in ("", "/"):
            raise ConfigurationError(
                f"server.allowed_origins: '{origin}' is not an origin, like https://docs.example.com; '*' would let any"
                " web site act for its visitors."
            )
    for network in server.trusted_proxies:
        try:
            ipaddress.ip_network(network)
        except ValueError as error:
            raise ConfigurationError(f"server.trusted_proxies: {error}.") from error


def _require_collector(telemetry: TelemetrySettings) -> None:
    if telemetry.exporter == "otlp" and not telemetry.otlp_endpoint:
        raise ConfigurationError(
            "telemetry.exporter = 'otlp' needs telemetry.otlp_endpoint, for example 'http://localhost:4318/v1/traces'."
        )
    if "@" in telemetry.otlp_endpoint.partition("://")[2].partition("/")[0]:
        raise ConfigurationError(
            "telemetry.otlp_endpoint must hold no user and no password, which the list of settings would show; give"
            " what the collector asks for in OTEL_EXPORTER_OTLP_HEADERS."
        )


def _require_language_model(llm: LlmSettings) -> None:
    if llm.base_url:
        _require_address("llm.base_url", llm.base_url, "http://127.0.0.1:8000/v1")
    if not llm.api_key.isascii() or not llm.api_key.isprintable() or " " in llm.api_key:
        raise ConfigurationError("llm.api_key holds characters that no key has: spaces, line breaks or accents.")


def _require_address(name: str, url: str, example: str) -> None:
    """Refuse what is no address of a service, with a path at most. It is not repeated: it may hold a secret."""
    if "@" in url:
        raise ConfigurationError(
            f"{name} must hold no user and no password, which the list of settings would show; llm.api_key is where"
            " the key of a language model goes."
        )
    refused = ConfigurationError(f"{name} is not the address of a service, like {example}; nothing follows but a path.")
    if len(url) > MAX_URL_CHARS or not url.isascii() or not url.isprintable() or " " in url or "\\" in url:
        raise refused
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise refused from error
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0 or parts.query or parts.fragment:
        raise refused


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
