"""How often somebody may try a password: by address and name together, and by address.

Not by name alone: whoever knows a name could lock its owner out from everywhere.
"""

import time
from collections import OrderedDict, deque
from collections.abc import Callable

from perplex_mono.errors import Overloaded
from perplex_mono.web.guard import network_of

MAX_REMEMBERED = 10_000
ADDRESS_FACTOR = 5  # for an address that tries many names


class LoginAttempts:
    """Counts failures within a sliding window; a success forgets those of its address and name."""

    def __init__(
        self, *, max_failures: int, window_seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._max_failures = max_failures
        self._window_seconds = window_seconds
        self._clock = clock
        self._failures: OrderedDict[tuple[str, str], deque[float]] = OrderedDict()

    def limit(self, *, max_failures: int, window_seconds: float) -> None:
        """Allow so many failures within so long from now on."""
        self._max_failures = max_failures
        self._window_seconds = window_seconds

    def require_allowed(self, address: str, name: str) -> None:
        """Raise `Overloaded` while there were too many failures."""
        for key, limit in self._limits(address, name):
            recent = self._recent(key)
            if len(recent) >= limit:
                wait = recent[0] + self._window_seconds - self._clock()
                raise Overloaded("Too many failed logins; try again later.", max(1, round(wait)))

    def failed(self, address: str, name: str) -> None:
        """Count one."""
        for key, limit in self._limits(address, name):
            recent = self._recent(key)
            recent.append(self._clock())
            while len(recent) > limit:
                recent.popleft()
            self._failures[key] = recent
            self._failures.move_to_end(key)
        while len(self._failures) > MAX_REMEMBERED:
            self._failures.popitem(last=False)

    def succeeded(self, address: str, name: str) -> None:
        """Forget this address's failures with this name."""
        self._failures.pop((network_of(address), name), None)

    def _limits(self, address: str, name: str) -> list[tuple[tuple[str, str], int]]:
        network = network_of(address)
        return [((network, name), self._max_failures), ((network, ""), ADDRESS_FACTOR * self._max_failures)]

    def _recent(self, key: tuple[str, str]) -> deque[float]:
        recent = self._failures.get(key, deque())
        while recent and recent[0] <= self._clock() - self._window_seconds:
            recent.popleft()
        return recent
