"""Every setting of the product, typed and frozen: one section a table of `config.toml`, one attribute a key."""

from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

import msgspec
from msgspec import Meta, field

HIDDEN = "hidden"
REDACTED = "[redacted]"

Secret = Annotated[str, Meta(extra={HIDDEN: True})]
"""A value that is never shown: not by commands, answers, logs or errors. It may also come from a file of its own."""
# Every number has an upper bound too: what nobody means would fail later, where nobody can tell which setting it was.
LARGEST = 2**53
YEAR_SECONDS = 365 * 24 * 3600.0
CENTURY_DAYS = 36_500
Count = Annotated[int, Meta(ge=0, le=LARGEST)]
Positive = Annotated[int, Meta(ge=1, le=LARGEST)]
Days = Annotated[int, Meta(ge=1, le=CENTURY_DAYS)]
Port = Annotated[int, Meta(ge=1, le=65535)]
Fraction = Annotated[float, Meta(ge=0.0, le=1.0)]
Seconds = Annotated[float, Meta(gt=0.0, le=YEAR_SECONDS)]
MEGABYTE = 1024 * 1024

ChunkStrategy = Literal["structure", "fixed", "recursive", "sentence", "semantic", "hierarchical"]
"""The ways to cut text, by the names that settings, collections and previews use."""

LogLevel = Literal["DEBUG", "INFO", "WARNING", "ERROR"]


class _Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A table of config.toml. Its text form, which logs and tracebacks may show, hides secrets."""

    def __repr__(self) -> str:
        """The section as it is written, secrets redacted."""
        secrets = secrets_of(type(self))
        shown = {name: getattr(self, name) for name in self.__struct_fields__}
        values = (f"{name}={REDACTED if name in secrets and value else repr(value)}" for name, value in shown.items())
        return f"{type(self).__name__}({', '.join(values)})"


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
    redis_url: Secret = ""
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
    idle_unload_seconds: Annotated[float, Meta(ge=0.0, le=YEAR_SECONDS)] = 0.0


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
    reader_memory_bytes: Annotated[int, Meta(ge=256 * MEGABYTE, le=LARGEST)] = 1_500_000_000
    page_timeout_seconds: Seconds = 60.0
    lease_seconds: Annotated[float, Meta(ge=5.0, le=86_400.0)] = 30.0
    max_attempts: Positive = 3
    commit_documents: Annotated[int, Meta(ge=1, le=1000)] = 64
    commit_seconds: Annotated[float, Meta(ge=0.0, le=60.0)] = 1.0


class SourceSettings(_Section, frozen=True):
    roots: list[str] = field(default_factory=list)
    watch: bool = True
    debounce_seconds: Annotated[float, Meta(ge=0.1, le=60.0)] = 2.0
    rescan_seconds: Annotated[float, Meta(ge=1.0, le=YEAR_SECONDS)] = 3600.0
    polling: Literal["auto", "always", "never"] = "auto"
    poll_seconds: Annotated[float, Meta(ge=0.1, le=86_400.0)] = 10.0


class SearchSettings(_Section, frozen=True):
    language: str = "English"
    rrf_k: Positive = 10
    dense_weight: Annotated[float, Meta(ge=0.0, le=1000.0)] = 1.0
    sparse_weight: Annotated[float, Meta(ge=0.0, le=1000.0)] = 1.0
    candidates: Annotated[int, Meta(ge=10, le=5000)] = 100
    cache_size: Count = 256
    timeout_seconds: Seconds = 30.0


class IndexSettings(_Section, frozen=True):
    keep_retired_days: Annotated[float, Meta(ge=0.0, le=CENTURY_DAYS)] = 7.0


class BackupSettings(_Section, frozen=True):
    directory: str = ""
    every_hours: Annotated[float, Meta(ge=0.0, le=24.0 * CENTURY_DAYS)] = 0.0
    keep: Positive = 7


class LimitSettings(_Section, frozen=True):
    max_upload_bytes: Positive = 512 * MEGABYTE
    max_files_per_request: Positive = 100
    max_json_bytes: Annotated[int, Meta(ge=1024, le=LARGEST)] = MEGABYTE
    max_json_depth: Positive = 64
    max_pages: Positive = 5_000
    max_image_pixels: Positive = 40_000_000
    max_name_chars: Annotated[int, Meta(ge=16, le=1024)] = 255
    max_query_chars: Positive = 4096
    max_k: Positive = 1000
    sockets_per_user: Positive = 10
    sockets_total: Positive = 1000
    max_connections: Positive = 2000
    queue_documents: Positive = 10_000
    queue_hours: Annotated[float, Meta(gt=0.0, le=24.0 * CENTURY_DAYS)] = 24.0
    operation_stall_seconds: Seconds = 1800.0
    requests_per_minute_anonymous: Positive = 100
    login_attempts: Positive = 20
    login_window_seconds: Seconds = 600.0
    requests_per_minute_user: Positive = 6_000
    disk_reserve_bytes: Count = 1024 * MEGABYTE
    disk_reserve_fraction: Fraction = 0.05
    body_idle_seconds: Annotated[float, Meta(ge=0.1, le=3600.0)] = 3.0
    event_retention_days: Days = 30
    memory_warning_fraction: Fraction = 0.9
    processor_warning_fraction: Fraction = 0.9


class AuthSettings(_Section, frozen=True):
    setup_token_file: str = ""
    access_minutes: Annotated[float, Meta(ge=1.0, le=1440.0)] = 15.0
    refresh_days: Annotated[float, Meta(gt=0.0, le=365.0)] = 30.0
    audit_days: Days = 365


class OutboundSettings(_Section, frozen=True):
    private_hosts: list[str] = field(default_factory=list)


class LlmSettings(_Section, frozen=True):
    provider: Literal["none", "openai", "ollama"] = "none"
    base_url: str = ""
    model: str = ""
    api_key: Secret = ""


class WebSearchSettings(_Section, frozen=True):
    searxng_url: str = ""


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
    rotation_bytes: Annotated[int, Meta(ge=64 * 1024, le=LARGEST)] = 50 * MEGABYTE
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
    outbound: OutboundSettings = field(default_factory=OutboundSettings)
    llm: LlmSettings = field(default_factory=LlmSettings)
    web_search: WebSearchSettings = field(default_factory=WebSearchSettings)
    telemetry: TelemetrySettings = field(default_factory=TelemetrySettings)
    logging: LoggingSettings = field(default_factory=LoggingSettings)

    @property
    def data_directory(self) -> Path:
        """The absolute folder that holds everything the product stores."""
        return Path(self.data.directory).expanduser().resolve()


def setting_names() -> list[str]:
    """All `section.key` names, in the order of `config.toml`."""
    return [f"{name}.{key}" for name, section in section_types().items() for key in section.__struct_fields__]


@cache
def section_types() -> dict[str, type[msgspec.Struct]]:
    """The type of each section by its name."""
    return {name: hint for name, hint in get_type_hints(Settings).items() if name in Settings.__struct_fields__}


def setting_type(name: str) -> Any:
    """The type of `section.key`, without its bounds."""
    section, _, key = name.partition(".")
    return _hints(section_types()[section])[key]


def secrets_of(section: type[msgspec.Struct]) -> frozenset[str]:
    """The keys of a section whose values are never shown."""
    hints = get_type_hints(section, include_extras=True)
    return frozenset(key for key in section.__struct_fields__ if _is_secret(hints[key]))


@cache
def secret_names() -> frozenset[str]:
    """The `section.key` names of all secrets."""
    return frozenset(f"{name}.{key}" for name, section in section_types().items() for key in secrets_of(section))


@cache
def _hints(section: type[msgspec.Struct]) -> dict[str, Any]:
    return get_type_hints(section)


def _is_secret(hint: Any) -> bool:
    marks = getattr(hint, "__metadata__", ())
    return any(isinstance(mark, Meta) and (mark.extra or {}).get(HIDDEN) for mark in marks)
