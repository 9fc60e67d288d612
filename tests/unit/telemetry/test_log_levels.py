"""The level of the log changes while the process runs, on every sink, without a record lost or told twice."""

import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from loguru import logger

from perplex_mono.settings import LoggingSettings
from perplex_mono.telemetry.logs import configure_logging


@pytest.fixture(autouse=True)
def _clean() -> Iterator[None]:
    yield
    logger.remove()


def test_the_level_changes_on_every_sink(tmp_path: Path) -> None:
    stream, file = io.StringIO(), tmp_path / "log"
    sinks = configure_logging(LoggingSettings(level="INFO", file=str(file)), stream)
    for level, word in (("ERROR", "first"), ("DEBUG", "second"), ("INFO", "third")):
        sinks.use(LoggingSettings(level=level, file=str(file)))  # type: ignore[arg-type]  # the three are levels
        logger.debug(f"{word}.debug")
        logger.info(f"{word}.info")
        logger.error(f"{word}.error")
    logger.complete()
    for text in (stream.getvalue(), file.read_text()):
        said = [word for line in text.splitlines() for word in [line.split('"event": "')[1].split('"')[0]]]
        assert said == ["first.error", "second.debug", "second.info", "second.error", "third.info", "third.error"]
