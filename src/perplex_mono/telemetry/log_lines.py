"""What a log record looks like: one line, whatever text of other people is in it."""

import json
from collections.abc import Mapping
from contextvars import ContextVar
from datetime import UTC
from types import TracebackType
from typing import TYPE_CHECKING, Any

from perplex_mono.telemetry.redaction import redacted, redacted_text
from perplex_mono.telemetry.traces import current_trace_id

if TYPE_CHECKING:
    from loguru import Record

MAX_FRAMES = 12

request_id_var: ContextVar[str] = ContextVar("request_id", default="")
operation_id_var: ContextVar[str] = ContextVar("operation_id", default="")


def json_line(record: "Record") -> str:
    """The record as one line of JSON; text from users can forge neither a line nor a field."""
    entry: dict[str, Any] = {
        "time": record["time"].astimezone(UTC).isoformat(timespec="milliseconds"),
        "level": record["level"].name,
        "event": redacted_text(record["message"]),
        "logger": record["name"],
        **_belonging(),
        **_error(record),
    }
    for key, value in _fields(record).items():
        entry.setdefault(key, value)
    return json.dumps({key: value for key, value in entry.items() if value is not None})


def text_line(record: "Record") -> str:
    """The record as one line for people, and below it, indented, where an error came from."""
    error = _error(record)
    fields = {**_fields(record), **({"error": error["error"]} if error else {})}
    parts = [
        record["time"].strftime("%H:%M:%S.%f")[:-3],
        f"{record['level'].name: <7}",
        redacted_text(record["message"]),
    ]
    parts += [f"{key}={value!r}" for key, value in fields.items()]
    lines = [" ".join(parts), *(f"    {frame}" for frame in error.get("traceback", ()))]
    return "\n".join(map(_printable, lines))


def _belonging() -> dict[str, str | None]:
    """The request, the operation and the trace in which the caller is."""
    return {
        "request_id": request_id_var.get() or None,
        "operation_id": operation_id_var.get() or None,
        "trace_id": current_trace_id() or None,
    }


def _fields(record: "Record") -> Mapping[str, Any]:
    return {key: redacted(value, key) for key, value in record["extra"].items() if not key.startswith("_")}


def _error(record: "Record") -> dict[str, Any]:
    exception = record["exception"]
    if exception is None or exception.value is None:
        return {}
    text = redacted_text(f"{type(exception.value).__name__}: {exception.value}")
    return {"error": text, "traceback": _frames(exception.traceback)}


def _frames(traceback: TracebackType | None) -> list[str]:
    frames = []
    while traceback is not None:
        code = traceback.tb_frame.f_code
        frames.append(f"{code.co_filename}:{traceback.tb_lineno} {code.co_name}")
        traceback = traceback.tb_next
    return frames[-MAX_FRAMES:]


def _printable(text: str) -> str:
    """The text with everything escaped that could end a line or steer a terminal."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
