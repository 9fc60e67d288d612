"""One JSON line per event on standard error (or a file), with the request and operation it belongs to.

Code logs `logger.info("document.ready", document_id=...)`: a dotted event name, then fields. Everything that libraries
say through the standard `logging` module takes the same way.
"""

import json
import logging
import sys
from contextvars import ContextVar
from datetime import UTC
from types import TracebackType
from typing import TYPE_CHECKING, Any, TextIO

from loguru import logger
from opentelemetry import trace

from perplex_mono.settings import LoggingSettings, LogLevel

if TYPE_CHECKING:
    from loguru import Message, Record

request_id_var: ContextVar[str] = ContextVar("request_id", default="")
operation_id_var: ContextVar[str] = ContextVar("operation_id", default="")

_SECRET_WORDS = ("password", "secret", "token", "api_key", "authorization", "cookie")
_COUNTS = ("tokens", "token_count", "max_tokens", "batch_tokens")
_NOISY_LIBRARIES = ("httpx", "httpcore", "fontTools", "PIL", "pdfminer", "urllib3", "arq", "alembic", "RapidOCR")
_LOWEST = "DEBUG"
ROTATE_BYTES = 50 * 1024 * 1024
KEEP_FILES = 5


class _Threshold:
    """The least severe level that is written; loguru itself cannot change it for a sink that is open."""

    def __init__(self) -> None:
        self.number = logger.level("INFO").no

    def admits(self, record: "Record") -> bool:
        return record["level"].no >= self.number


_threshold = _Threshold()


def configure_logging(settings: LoggingSettings, stream: TextIO | None = None) -> None:
    """Send every log record of this process to one sink in one form. Call once, at start."""
    logger.remove()
    set_level(settings.level)
    sink: Any = stream or sys.stderr
    if settings.format == "text":
        _add(sink, format=_text_format)
    else:
        _add(_JsonSink(sink), format="{message}")
    if settings.file:
        _add(settings.file, format=_json_format, rotation=ROTATE_BYTES, retention=KEEP_FILES, enqueue=True)
    logging.basicConfig(handlers=[_Intercept()], level=logging.INFO, force=True)
    for name in _NOISY_LIBRARIES:
        logging.getLogger(name).setLevel(logging.WARNING)


def set_level(level: LogLevel) -> None:
    """Write records of this level and above, from now on and in every sink."""
    _threshold.number = logger.level(level).no


def _add(sink: Any, **options: Any) -> None:
    logger.add(sink, level=_LOWEST, filter=_threshold.admits, backtrace=False, diagnose=False, **options)


def json_line(record: "Record") -> str:
    """The record as one line of JSON; text from users can forge neither a line nor a field."""
    span = trace.get_current_span().get_span_context()
    entry: dict[str, Any] = {
        "time": record["time"].astimezone(UTC).isoformat(timespec="milliseconds"),
        "level": record["level"].name,
        "event": record["message"],
        "logger": record["name"],
        "request_id": request_id_var.get() or None,
        "operation_id": operation_id_var.get() or None,
        "trace_id": f"{span.trace_id:032x}" if span.is_valid else None,
    }
    for key, value in record["extra"].items():
        entry.setdefault(key, "[redacted]" if _is_secret(key) else value)
    exception = record["exception"]
    if exception is not None and exception.value is not None:
        entry["error"] = f"{type(exception.value).__name__}: {exception.value}"
        entry["traceback"] = _frames(exception.traceback)
    return json.dumps({key: value for key, value in entry.items() if value is not None}, default=str)


def _frames(traceback: TracebackType | None) -> list[str]:
    frames = []
    while traceback is not None:
        code = traceback.tb_frame.f_code
        frames.append(f"{code.co_filename}:{traceback.tb_lineno} {code.co_name}")
        traceback = traceback.tb_next
    return frames[-12:]


def _is_secret(key: str) -> bool:
    return any(word in key.lower() for word in _SECRET_WORDS) and key not in _COUNTS


def _json_format(record: "Record") -> str:
    record["extra"]["_line"] = json_line(record)
    return "{extra[_line]}\n"


def _text_format(record: "Record") -> str:
    fields = " ".join(f"{key}={'[redacted]' if _is_secret(key) else value!r}" for key, value in record["extra"].items())
    record["extra"]["_fields"] = fields
    return "{time:HH:mm:ss.SSS} {level: <7} {message} {extra[_fields]}\n{exception}"


class _JsonSink:
    """Writes each record as its JSON line."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, message: "Message") -> None:
        self._stream.write(json_line(message.record) + "\n")
        self._stream.flush()


class _Intercept(logging.Handler):
    """Hands records of the standard `logging` module to loguru."""

    def emit(self, record: logging.LogRecord) -> None:
        level: str | int = record.levelname if record.levelname in logging.getLevelNamesMapping() else record.levelno
        logger.opt(exception=record.exc_info).bind(library=record.name).log(level, "{}", record.getMessage())
