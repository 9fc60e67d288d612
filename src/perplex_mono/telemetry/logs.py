"""One JSON line per event on standard error (and a file), with the request, operation and trace it belongs to.

Code logs `logger.info("document.ready", document_id=...)`: a dotted event name, then fields. Everything that libraries
say through the standard `logging` module, as warnings, or by an error that ends a thread, takes the same way.
"""

import logging
import os
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from loguru import logger

from perplex_mono.settings import LoggingSettings, LogLevel
from perplex_mono.telemetry.log_lines import json_line, operation_id_var, request_id_var, text_line

if TYPE_CHECKING:
    from loguru import Message, Record

__all__ = ["configure_logging", "count_records", "operation_id_var", "request_id_var", "set_level"]

_NOISY_LIBRARIES = ("httpx", "httpcore", "fontTools", "PIL", "pdfminer", "urllib3", "arq", "alembic", "RapidOCR")
_SILENT_LIBRARIES = (
    "opentelemetry.exporter",
    "opentelemetry.sdk._shared_internal",
)  # telemetry/traces.py speaks for them
_LOWEST = "DEBUG"


class _Threshold:
    """The least severe level that is written; loguru itself cannot change it for a sink that is open."""

    def __init__(self) -> None:
        self.number = logger.level("INFO").no

    def admits(self, record: "Record") -> bool:
        return record["level"].no >= self.number


_threshold = _Threshold()


def configure_logging(settings: LoggingSettings, stream: TextIO | None = None) -> None:
    """Send every log record of this process to one sink in one form, and to a file if set. Call once, at start."""
    logger.remove()
    set_level(settings.level)
    line = text_line if settings.format == "text" else json_line
    _add(_StreamSink(stream or sys.stderr, line))
    if settings.file:
        _add(
            settings.file,
            format=_json_format,
            rotation=settings.rotation_bytes,
            retention=settings.retention_files,
            opener=_open_private,
            enqueue=True,
        )
    logging.basicConfig(handlers=[_Intercept()], level=logging.INFO, force=True)
    logging.captureWarnings(True)
    threading.excepthook = _log_thread_error
    for name in _NOISY_LIBRARIES:
        logging.getLogger(name).setLevel(logging.WARNING)
    for name in _SILENT_LIBRARIES:
        logging.getLogger(name).setLevel(logging.CRITICAL)


def set_level(level: LogLevel) -> None:
    """Write records of this level and above, from now on and in every sink.

    Libraries are never asked for more than INFO: what they say below that quotes documents.
    """
    _threshold.number = logger.level(level).no


def count_records(count: Callable[[str], None]) -> Callable[[], None]:
    """Call `count(level)` for every record that is written; what this returns ends that."""
    handler = _add(lambda message: count(message.record["level"].name), format="{level}")

    def end() -> None:
        with suppress(ValueError):  # logging was configured anew meanwhile
            logger.remove(handler)

    return end


def _add(sink: Any, **options: Any) -> int:
    settings: dict[str, Any] = {"format": "{message}", "backtrace": False, "diagnose": False, **options}
    return logger.add(sink, level=_LOWEST, filter=_threshold.admits, **settings)


def _json_format(record: "Record") -> str:
    record["extra"]["_line"] = json_line(record)
    return "{extra[_line]}\n"


def _open_private(path: str, flags: int) -> int:
    """Names of documents are in it, so it is its owner's alone."""
    return os.open(Path(path), flags, 0o600)


def _log_thread_error(ended: threading.ExceptHookArgs) -> None:
    if ended.exc_value is not None and not isinstance(ended.exc_value, SystemExit):
        name = ended.thread.name if ended.thread is not None else ""
        logger.opt(exception=ended.exc_value).error("thread.broke", thread=name)


class _StreamSink:
    """Writes each record as its line."""

    def __init__(self, stream: TextIO, line: Callable[["Record"], str]) -> None:
        self._stream = stream
        self._line = line

    def write(self, message: "Message") -> None:
        self._stream.write(self._line(message.record) + "\n")
        self._stream.flush()


class _Intercept(logging.Handler):
    """Hands records of the standard `logging` module to loguru."""

    def emit(self, record: logging.LogRecord) -> None:
        level: str | int = record.levelname if record.levelname in logging.getLevelNamesMapping() else record.levelno
        logger.opt(exception=record.exc_info).bind(library=record.name).log(level, "{}", record.getMessage())
