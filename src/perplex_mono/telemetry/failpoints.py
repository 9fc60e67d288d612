"""Named places where a fault test may kill the process: `PERPLEX_FAILPOINT=name[:n]` dies at the n-th passage.

The whole cost in production is one dictionary look-up.
"""

import os
import signal
from collections import Counter

VARIABLE = "PERPLEX_FAILPOINT"
_passages: Counter[str] = Counter()


def failpoint(name: str) -> None:
    """Kill this process, as `kill -9` would, if the environment asks for it here."""
    wanted = os.environ.get(VARIABLE)
    if not wanted:
        return
    point, _, count = wanted.partition(":")
    if point == name:
        _passages[name] += 1
        if _passages[name] >= int(count or 1):
            os.kill(os.getpid(), signal.SIGKILL)
