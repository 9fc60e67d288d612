"""The level of the log changes while the process runs, on every sink, without a record lost or told twice."""

import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from loguru import logger

from perplex_mono.settings import LoggingSettings, LogLevel
from perplex_mono.telemetry.logs import configure_logging, set_level


@pytest.fixture(autouse=True)
def _clean() -> Iterator[None]:
    yield
    logger.remove()


def test_the_level_changes_on_every_sink(tmp_path: Path) -> None:
    stream, file = io.StringIO(), tmp_path / "log"
    configure_logging(LoggingSettings(level="INFO", file=str(file)), stream)
    changes: list[tuple[LogLevel, str]] = [("ERROR", "first"), ("DEBUG", "second"), ("INFO", "third")]
    for level, word in changes:
        set_level(level)
        logger.debug(f"{word}.debug")
        logger.info(f"{word}.info")
        logger.error(f"{word}.error")
    logger.complete()
    for text in (stream.getvalue(), file.read_text()):
        said = [json.loads(line)["event"] for line in text.splitlines()]
        assert said == ["first.error", "second.debug", "second.info", "second.error", "third.info", "third.error"]
