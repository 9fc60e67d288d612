"""Every record is one line that names what it belongs to, and nobody's text can change that."""

import io
import json
import logging
import threading
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from loguru import logger

from perplex_mono.settings import LoggingSettings
from perplex_mono.telemetry.logs import (
    configure_logging,
    count_records,
    operation_id_var,
    request_id_var,
    set_level,
)
from perplex_mono.telemetry.traces import current_trace_id, span

FORGED = 'x"}\n{"level": "ERROR", "event": "forged", "request_id": "other"}\r\u2028\x1b[2J'
Configure = Callable[..., io.StringIO]


@pytest.fixture
def configure() -> Iterator[Configure]:
    """Configure logging to a stream; everything is as it was afterwards."""
    root, hook = logging.getLogger(), threading.excepthook
    handlers, level = list(root.handlers), root.level

    def begin(**settings: Any) -> io.StringIO:
        stream = io.StringIO()
        configure_logging(LoggingSettings(**settings), stream)
        return stream

    yield begin
    request_id_var.set("")
    logger.remove()
    set_level("INFO")
    logging.captureWarnings(False)
    root.handlers[:], threading.excepthook = handlers, hook
    root.setLevel(level)


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_names_its_request_operation_and_trace(configure: Configure, tracer: None) -> None:
    stream = configure()
    request, operation = request_id_var.set("request-1"), operation_id_var.set("operation-1")
    with span("test"):
        trace_id = current_trace_id()
        logger.info("document.ready", pages=3)
    request_id_var.reset(request)
    operation_id_var.reset(operation)
    logger.info("nobody.asked")
    first, second = lines(stream)
    assert (first["request_id"], first["operation_id"], first["trace_id"]) == ("request-1", "operation-1", trace_id)
    assert len(trace_id) == 32
    assert (first["event"], first["level"], first["pages"]) == ("document.ready", "INFO", 3)
    assert first["logger"] == __name__
    assert first["time"].endswith("+00:00")
    assert not {"request_id", "operation_id", "trace_id"} & second.keys()


@pytest.mark.parametrize("format_name", ["json", "text"])
def test_nobody_can_forge_a_line_or_a_field(configure: Configure, format_name: str) -> None:
    stream = configure(format=format_name)
    request_id_var.set("mine")
    logger.info(FORGED.replace("{", "(").replace("}", ")"), name=FORGED, level="ERROR", request_id="forged")
    logging.getLogger("library").warning("said %s", FORGED)
    try:
        raise ValueError(FORGED)
    except ValueError:
        logger.exception("broke")
    written = stream.getvalue()
    assert "\x1b" not in written
    assert "\r" not in written
    rows = [line for line in written.splitlines() if not line.startswith("    ")]
    assert len(rows) == 3
    if format_name == "json":
        assert [json.loads(row)["level"] for row in rows] == ["INFO", "WARNING", "ERROR"]
        assert {json.loads(row)["request_id"] for row in rows} == {"mine"}


@pytest.mark.parametrize("format_name", ["json", "text"])
def test_no_secret_is_written(configure: Configure, format_name: str, tmp_path: Path) -> None:
    file = tmp_path / "server.log"
    stream = configure(format=format_name, file=str(file))
    logger.info("login password=s3cr3t-1", authorization="Bearer s3cr3t-2", url="redis://user:s3cr3t-3@host")
    logger.info("called", headers={"Cookie": "session=s3cr3t-4"}, query=["?token=s3cr3t-5&limit=3"])
    logging.getLogger("library").error("GET /x?api_key=s3cr3t-6")
    try:
        try:
            raise KeyError("token=s3cr3t-7")
        except KeyError as error:
            raise RuntimeError("refused with password: s3cr3t-8") from error
    except RuntimeError:
        logger.exception("broke")
    logger.complete()
    logger.remove()
    written = stream.getvalue() + file.read_text()
    assert "s3cr3t" not in written
    assert written.count("broke") == 2
    assert "limit=3" in written


def test_what_libraries_say_takes_the_same_way(configure: Configure) -> None:
    stream = configure()
    logging.getLogger("some.library").warning("it %s", "happened")
    logging.getLogger("some.library").debug("a document's text")
    warnings.warn("soon gone", DeprecationWarning, stacklevel=1)
    thread = threading.Thread(target=lambda: 1 / 0, name="worker-1")
    thread.start()
    thread.join()
    said, warned, ended = lines(stream)
    assert (said["event"], said["library"], said["level"]) == ("it happened", "some.library", "WARNING")
    assert "soon gone" in warned["event"]
    assert (ended["event"], ended["thread"]) == ("thread.broke", "worker-1")
    assert ended["error"].startswith("ZeroDivisionError")


def test_the_level_changes_while_it_runs(configure: Configure, tmp_path: Path) -> None:
    stream = configure(level="WARNING", file=str(tmp_path / "log"))
    logger.info("one")
    set_level("DEBUG")
    logger.debug("two")
    set_level("ERROR")
    logger.warning("three")
    logger.error("four")
    assert [line["event"] for line in lines(stream)] == ["two", "four"]
    logger.complete()
    logger.remove()
    assert [json.loads(line)["event"] for line in (tmp_path / "log").read_text().splitlines()] == ["two", "four"]


def test_the_file_is_private_rotated_and_kept_only_so_often(configure: Configure, tmp_path: Path) -> None:
    file = tmp_path / "logs" / "server.log"
    configure(file=str(file), rotation_bytes=64 * 1024, retention_files=2)
    for number in range(1000):
        logger.info("event", number=number, filler="x" * 300)
    logger.complete()
    logger.remove()
    kept = sorted(file.parent.iterdir())
    assert len(kept) == 3, "the one that is written, and two that were put aside"
    assert all(path.stat().st_size <= 64 * 1024 + 1000 for path in kept)
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in kept)
    assert json.loads(file.read_text().splitlines()[-1])["number"] == 999


def test_written_records_are_counted(configure: Configure) -> None:
    configure()
    counted: Counter[str] = Counter()
    end = count_records(lambda level: counted.update([level]))
    logger.debug("not written")
    logger.info("written")
    logger.error("written")
    end()
    logger.error("not counted")
    assert counted == {"INFO": 1, "ERROR": 1}
