"""What every fault test has: a server of its own, and a line in the table that is printed at the end."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.server_process import ServerProcess
from tests.system.faults import table
from tests.system.faults.table import FaultTable

TABLE = pytest.StashKey[FaultTable]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--store-faults` keeps the table for the documentation, `--kills` says how many random kills there are."""
    parser.addoption("--store-faults", action="store_true", help="write the table of faults as JSON and into the docs")
    parser.addoption("--kills", type=int, default=200, help="random kills of the long run (default: 200)")


def pytest_configure(config: pytest.Config) -> None:
    """One table for the run."""
    config.stash[TABLE] = FaultTable()


def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> None:
    """A line whose test failed says so."""
    if call.when == "call" and call.excinfo is not None and "faults" in getattr(item, "fixturenames", ()):
        item.config.stash[TABLE].break_off()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the table, and keep it when asked to."""
    faults = config.stash[TABLE].ran()
    if not faults:
        return
    terminalreporter.section("faults")
    for line in table.lines(faults):
        terminalreporter.write_line(line)
    if config.getoption("store_faults", default=False):
        table.write_page(table.store(faults))


@pytest.fixture
def faults(pytestconfig: pytest.Config) -> FaultTable:
    """The table of this run."""
    return pytestconfig.stash[TABLE]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    """A server that is not started yet; gone at the end, whatever happened."""
    process = ServerProcess(tmp_path, {"PERPLEX_LIMITS__REQUESTS_PER_MINUTE_USER": "1000000"})
    yield process
    if not process.ended():
        process.kill()
