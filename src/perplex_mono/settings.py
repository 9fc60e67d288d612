"""Every setting of the product, typed and frozen: `config.toml`, then `PERPLEX_<SECTION>__<KEY>` in the environment.

Nothing reads settings at import. `load_settings` is called once, by the command line, and its result is passed down.
"""

import difflib
import ipaddress
import os
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, get_origin, get_type_hints
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta, field

from perplex_mono.errors import ConfigurationError
from perplex_mono.text_languages import text_language

ENVIRONMENT_PREFIX = "PERPLEX_"

Count = Annotated[int, Meta(ge=0)]
Positive = Annotated[int, Meta(ge=1)]
Port = Annotated[int, Meta(ge=1, le=65535)]
Fraction = Annotated[float, Meta(ge=0.0, le=1.0)]
Seconds = Annotated[float, Meta(gt=0.0)]
MEGABYTE = 1024 * 1024

ChunkStrategy = Literal["structure", "fixed", "recursive", "sentence", "semantic", "hierarchical"]
"""The ways to cut text, by the names that settings, collections and previews use."""

LogLevel = Literal["DEBUG", "INFO", "WARNING", "ERROR"]


class _Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A table of config.toml."""


class ServerSettings(_Section, frozen=True):
    host: str = "127.0.0.1"
    port: Port = 8080
    base_path: str = ""
    allowed_hosts: list[str] = field(default_factory=list)
    allowed_origins: list[str] = field(default_factory=list)
    trusted_proxies: list[str] = field(default_factory=list)
    backlog: Annotated[int, Meta(ge=128, le=65535)] = 4096
    shutdown_seconds: Seconds = 30.0


class DataSettings(_Section, frozen=True):
    directory: str = "data"


class QueueSettings(_Section, frozen=True):
    redis_url: str = ""
    embedded_redis: bool = True
    poll_seconds: Seconds = 2.0


class EmbeddingSettings(_Section, frozen=True):
    model: str = "bundled"
    allow_download: bool = False
    device: Literal["auto", "cuda", "mps", "cpu"] = "auto"
    dtype: Literal["auto", "float32", "float16", "bfloat16"] = "auto"
    threads: Count = 0
    max_batch_tokens: Count = 0
    max_queued_texts: Positive = 20_000
    query_cache_size: Count = 4096
    idle_unload_seconds: Annotated[float, Meta(ge=0.0)] = 0.0


class OcrSettings(_Section, frozen=True):
    engine: Literal["rapidocr", "rapidocr-onnxruntime", "none"] = "rapidocr"
    threads: Count = 0
    batch_width: Positive = 1
    max_queued_pages: Positive = 16
    min_confidence: Fraction = 0.6
    dpi: Annotated[int, Meta(ge=72, le=600)] = 200


class ChunkingSettings(_Section, frozen=True):
    strategy: ChunkStrategy = "structure"
    max_tokens: Annotated[int, Meta(ge=16, le=8192)] = 200
    overlap_tokens: Count = 30


class IngestionSettings(_Section, frozen=True):
    concurrent_documents: Positive = 8
    reader_processes: Positive = 2
    reader_memory_bytes: Annotated[int, Meta(ge=256 * MEGABYTE)] = 1_500_000_000
    page_timeout_seconds: Seconds = 60.0
    lease_seconds: Annotated[float, Meta(ge=5.0)] = 30.0
    max_attempts: Positive = 3
    commit_documents: Annotated[int, Meta(ge=1, le=1000)] = 64
    commit_seconds: Annotated[float, Meta(ge=0.0, le=60.0)] = 1.0


class SourceSettings(_Section, frozen=True):
    roots: list[str] = field(default_factory=list)
    watch: bool = True
    debounce_seconds: Annotated[float, Meta(ge=0.1, le=60.0)] = 2.0
    rescan_seconds: Annotated[float, Meta(ge=1.0)] = 3600.0
    polling: Literal["auto", "always", "never"] = "auto"
    poll_seconds: Annotated[float, Meta(ge=0.1)] = 10.0


class SearchSettings(_Section, frozen=True):
    language: str = "English"
    rrf_k: Positive = 10
    dense_weight: Annotated[float, Meta(ge=0.0)] = 1.0
    sparse_weight: Annotated[float, Meta(ge=0.0)] = 1.0
    candidates: Annotated[int, Meta(ge=10, le=5000)] = 100
    cache_size: Count = 256
    timeout_seconds: Seconds = 30.0


class IndexSettings(_Section, frozen=True):
    keep_retired_days: Annotated[float, Meta(ge=0.0)] = 7.0


class BackupSettings(_Section, frozen=True):
    directory: str = ""
    every_hours: Annotated[float, Meta(ge=0.0)] = 0.0
    keep: Positive = 7


class LimitSettings(_Section, frozen=True):
    max_upload_bytes: Positive = 512 * MEGABYTE
    max_files_per_request: Positive = 100
    max_json_bytes: Positive = MEGABYTE
    max_json_depth: Positive = 64
    max_pages: Positive = 5_000
    max_image_pixels: Positive = 40_000_000
    max_name_chars: Annotated[int, Meta(ge=16, le=1024)] = 255
    max_query_chars: Positive = 4096
    max_k: Positive = 1000
    sockets_per_user: Positive = 10
    sockets_total: Positive = 1000
    max_connections: Positive = 1000
    queue_documents: Positive = 10_000
    queue_hours: Annotated[float, Meta(gt=0.0)] = 24.0
    operation_stall_seconds: Seconds = 1800.0
    requests_per_minute_anonymous: Positive = 100
    login_attempts: Positive = 20
    login_window_seconds: Seconds = 600.0
    requests_per_minute_user: Positive = 6_000
    disk_reserve_bytes: Count = 1024 * MEGABYTE
    disk_reserve_fraction: Fraction = 0.05
    body_idle_seconds: Seconds = 3.0
    event_retention_days: Positive = 30
    memory_warning_fraction: Fraction = 0.9
    processor_warning_fraction: Fraction = 0.9


class AuthSettings(_Section, frozen=True):
    setup_token_file: str = ""
    access_minutes: Annotated[float, Meta(ge=1.0, le=1440.0)] = 15.0
    refresh_days: Annotated[float, Meta(gt=0.0, le=365.0)] = 30.0
    audit_days: Positive = 365


class TelemetrySettings(_Section, frozen=True):
    exporter: Literal["none", "console", "otlp"] = "none"
    otlp_endpoint: str = ""
    service_name: str = "perplex-mono"
    metrics_port: Annotated[int, Meta(ge=0, le=65535)] = 0
    metrics_host: str = "127.0.0.1"


class LoggingSettings(_Section, frozen=True):
    level: LogLevel = "INFO"
    format: Literal["json", "text"] = "json"
    file: str = ""
    rotation_bytes: Annotated[int, Meta(ge=64 * 1024)] = 50 * MEGABYTE
    retention_files: Positive = 5


class Settings(_Section, frozen=True):
    """The whole configuration, one attribute a section. Units are in the names: bytes, seconds, chars."""

    server: ServerSettings = field(default_factory=ServerSettings)
    data: DataSettings = field(default_factory=DataSettings)
    queue: QueueSettings = field(default_factory=QueueSettings)
    embedding: EmbeddingSettings = field(default_factory=EmbeddingSettings)
    ocr: OcrSettings = field(default_factory=OcrSettings)
    chunking: ChunkingSettings = field(default_factory=ChunkingSettings)
    ingestion: IngestionSettings = field(default_factory=IngestionSettings)
    sources: SourceSettings = field(default_factory=SourceSettings)
    search: SearchSettings = field(default_factory=SearchSettings)
    indexes: IndexSettings = field(default_factory=IndexSettings)
    backups: BackupSettings = field(default_factory=BackupSettings)
    limits: LimitSettings = field(default_factory=LimitSettings)
    auth: AuthSettings = field(default_factory=AuthSettings)
    telemetry: TelemetrySettings = field(default_factory=TelemetrySettings)
    logging: LoggingSettings = field(default_factory=LoggingSettings)

    @property
    def data_directory(self) -> Path:
        """The absolute folder that holds everything the product stores."""
        return Path(self.data.directory).expanduser().resolve()


def setting_names() -> list[str]:
    """All `section.key` names, in the order of `config.toml`."""
    sections = get_type_hints(Settings)
    return [f"{section}.{key}" for section in Settings.__struct_fields__ for key in sections[section].__struct_fields__]


def load_settings(config_file: Path | None = None, environment: Mapping[str, str] | None = None) -> Settings:
    """Read the file, lay the environment over it, check everything.

    `config_file` None means `config.toml` in the working folder when it exists. Raises `ConfigurationError` that names
    the wrong key or value and the nearest right one.
    """
    environment = os.environ if environment is None else environment
    tree = _read_file(config_file)
    for name, value in environment.items():
        if name.startswith(ENVIRONMENT_PREFIX) and "__" in name:
            section, _, key = name.removeprefix(ENVIRONMENT_PREFIX).lower().partition("__")
            _require_known(f"{section}.{key}", f"environment variable {name}")
            is_list = get_origin(_setting_type(section, key)) is list
            tree.setdefault(section, {})[key] = _split(name, value, _separator(section)) if is_list else value
    try:
        settings = msgspec.convert(tree, Settings, strict=False)
    except msgspec.ValidationError as error:
        raise ConfigurationError(f"Setting has a value that cannot work: {_with_dotted_path(str(error))}") from error
    _require_consistent(settings)
    search = msgspec.structs.replace(settings.search, language=text_language(settings.search.language))
    return msgspec.structs.replace(settings, search=search)


def _separator(section: str) -> str:
    """Paths are separated as in PATH; host names and origins, which may hold a colon, by commas."""
    return os.pathsep if section == "sources" else ","


def _split(name: str, value: str, separator: str) -> list[str]:
    if value.lstrip().startswith("["):
        parts = ("/srv/papers", "/srv/contracts") if separator == os.pathsep else ("docs.example.com", "docs")
        raise ConfigurationError(
            f"{name} is '{value}', but lists in the environment are written without brackets and quotes,"
            f" separated by '{separator}': {name}={separator.join(parts)}"
        )
    return [part.strip() for part in value.split(separator) if part.strip()]


def _setting_type(section: str, key: str) -> Any:
    return get_type_hints(get_type_hints(Settings)[section])[key]


def _read_file(config_file: Path | None) -> dict[str, dict[str, Any]]:
    path = config_file or Path("config.toml")
    if not path.is_file():
        if config_file is not None:
            raise ConfigurationError(f"There is no configuration file at '{path}'.")
        return {}
    try:
        tree = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"'{path}' is not valid TOML: {error}") from error
    for section, table in tree.items():
        if not isinstance(table, dict):
            raise ConfigurationError(
                f"'{section}' in '{path}' stands outside a section; settings look like server.port."
            )
        for key in table:
            _require_known(f"{section}.{key}", f"'{path}'")
    return tree


def _require_known(name: str, where: str) -> None:
    names = setting_names()
    if name not in names:
        near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
        hint = f" Did you mean '{near[0]}'?" if near else " `perplex-mono settings` lists all."
        raise ConfigurationError(f"Unknown setting '{name}' in {where}.{hint}")


def _with_dotted_path(message: str) -> str:
    return message.replace(" - at `$.", " (setting `") + ")" if " - at `$." in message else message


def _require_consistent(settings: Settings) -> None:
    chunking = settings.chunking
    if chunking.overlap_tokens > chunking.max_tokens // 2:
        raise ConfigurationError(
            f"chunking.overlap_tokens ({chunking.overlap_tokens}) must be at most half of"
            f" chunking.max_tokens ({chunking.max_tokens})."
        )
    server = settings.server
    _require_usable(server.allowed_hosts, server.allowed_origins, server.trusted_proxies)
    if settings.server.base_path and not settings.server.base_path.startswith("/"):
        raise ConfigurationError("server.base_path must start with '/', for example '/documents'.")
    if settings.telemetry.metrics_port == settings.server.port:
        raise ConfigurationError("telemetry.metrics_port must be another port than server.port.")
    if settings.telemetry.exporter == "otlp" and not settings.telemetry.otlp_endpoint:
        raise ConfigurationError(
            "telemetry.exporter = 'otlp' needs telemetry.otlp_endpoint, for example 'http://localhost:4318/v1/traces'."
        )


def _require_usable(allowed_hosts: Sequence[str], allowed_origins: Sequence[str], proxies: Sequence[str]) -> None:
    """Raise `ConfigurationError` for lists that would let everybody in, or that can never match."""
    for host in allowed_hosts:
        if "*" in host or "/" in host or host != host.strip() or not host:
            raise ConfigurationError(
                f"server.allowed_hosts: '{host}' is not the name of a host, like docs.example.com."
            )
    for origin in allowed_origins:
        parts = urlsplit(origin)
        if "*" in origin or parts.scheme not in ("http", "https") or not parts.hostname or parts.path not in ("", "/"):
            raise ConfigurationError(
                f"server.allowed_origins: '{origin}' is not an origin, like https://docs.example.com; '*' would let any"
                " web site act for its visitors."
            )
    for network in proxies:
        try:
            ipaddress.ip_network(network)
        except ValueError as error:
            raise ConfigurationError(f"server.trusted_proxies: {error}.") from error
