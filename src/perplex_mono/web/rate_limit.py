"""How many requests a caller may make in a minute."""

import time
from collections import OrderedDict
from collections.abc import Callable

WINDOW_SECONDS = 60.0
MAX_CALLERS = 10_000


class RateLimiter:
    """A token bucket for each caller, filled evenly over the minute. Forgets the callers it has not seen longest."""

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._capacity = float(per_minute)
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def limit(self, per_minute: int) -> None:
        """Allow so many from now on."""
        self._capacity = float(per_minute)

    def wait_seconds(self, caller: str) -> float:
        """Zero when the request may pass, else how long until the next one may."""
        now = self._clock()
        level, seen = self._buckets.pop(caller, (self._capacity, now))
        level = min(self._capacity, level + (now - seen) * self._capacity / WINDOW_SECONDS)
        allowed = level >= 1.0
        self._buckets[caller] = (level - 1.0 if allowed else level, now)
        if len(self._buckets) > MAX_CALLERS:
            self._buckets.popitem(last=False)
        return 0.0 if allowed else (1.0 - level) * WINDOW_SECONDS / self._capacity
