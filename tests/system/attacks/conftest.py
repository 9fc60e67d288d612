"""What every attack has: one real server for its group, which must be none the worse afterwards."""

from collections.abc import Iterator, Mapping

import httpx
import pytest

from tests.server_process import ServerProcess, running_server
from tests.system.attacks import table
from tests.system.attacks.hostile_client import BARE, Listener, require_no_leftovers, strangers

HELD = pytest.StashKey[dict[str, bool]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--store-attacks` keeps what the run found for the documentation."""
    parser.addoption("--store-attacks", action="store_true", help="write machine and date of the attacks into the docs")


def pytest_configure(config: pytest.Config) -> None:
    """One tally for the run."""
    config.stash[HELD] = {}


def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> None:
    """An attack is held off when its test passes, and with it the look at the server afterwards."""
    number = table.number_of(item.name)
    if number is not None:
        held = item.config.stash[HELD]
        held[number] = held.get(number, True) and call.excinfo is None


def pytest_terminal_summary(config: pytest.Config) -> None:
    """Keep the tally when asked to."""
    if config.getoption("store_attacks", default=False):
        held = config.stash[HELD]
        table.write_page(held)


@pytest.fixture(scope="module")
def settings() -> Mapping[str, str]:
    """Settings of the group's server, as environment variables; a group may have its own."""
    return {}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, settings: Mapping[str, str]) -> Iterator[ServerProcess]:
    """The server that is attacked."""
    limits = {"PERPLEX_LIMITS__BODY_IDLE_SECONDS": "1", "PERPLEX_LIMITS__REQUESTS_PER_MINUTE_USER": "100000"}
    with running_server(tmp_path_factory.mktemp("attacked"), {**BARE, **limits, **settings}) as started:
        started.wait_ready()  # what is still loading would be counted against the attack
        yield started


@pytest.fixture(autouse=True)
def _none_the_worse(server: ServerProcess) -> Iterator[None]:
    """After each attack: it answers, no upload was left lying about, nothing was written where it may not."""
    yield
    assert not server.ended(), server.log()[-3000:]
    assert httpx.get(f"{server.url}/health", timeout=10).status_code == 200
    require_no_leftovers(server)
    assert strangers(server) == []


@pytest.fixture
def listener() -> Iterator[Listener]:
    """A port that should never be called."""
    opened = Listener()
    yield opened
    opened.close()
