"""A process makes room for its connections, within what the system allows it."""

import subprocess
import sys

import pytest

from perplex_mono.errors import ConfigurationError
from perplex_mono.web.listening import require_free_port

ASK = """
import resource, sys
from perplex_mono.web.listening import allow_connections
soft, hard, count = map(int, sys.argv[1:])
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
allow_connections(count)
print(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
"""


@pytest.mark.parametrize(
    ("soft", "hard", "connections", "allowed", "is_told"),
    [
        (256, 4096, 1000, 2024, False),
        (256, 1500, 1000, 1500, True),
        (3000, 4096, 1000, 3000, False),
    ],
)
def test_as_many_files_may_be_open_as_connections_need(
    soft: int, hard: int, connections: int, allowed: int, is_told: bool
) -> None:
    arguments = [str(number) for number in (soft, hard, connections)]
    done = subprocess.run([sys.executable, "-c", ASK, *arguments], capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == [str(allowed)], done.stderr
    assert ("server.few_open_files" in done.stderr) is is_told


@pytest.mark.parametrize("host", ["a..b", "x" * 70, "\udcff", "no such name"])
def test_an_address_that_is_none_is_told_as_a_setting(host: str) -> None:
    with pytest.raises(ConfigurationError, match="Nothing can listen on"):
        require_free_port(host, 8080)
