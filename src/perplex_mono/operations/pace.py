"""How fast work goes that comes in bursts, begins late, and pauses."""

from collections import deque
from collections.abc import Callable
from itertools import pairwise

MIN_WINDOW_SECONDS = 30.0
MAX_WINDOW_SECONDS = 300.0
WINDOW_GAPS = 10
BURST_SECONDS = 0.25


class Pace:
    """Measures units a second over the last half minute, or over the last ten gaps where those are long.

    Work comes in bursts (batches of pages, documents side by side), so time counts from the end of one to the end of
    another: half a gap more or less would be an error. And it begins late (a model loads, a place is waited for): the
    time up to the first burst counts only while there is nothing better.
    """

    def __init__(self, done: int, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._bursts: deque[tuple[float, int]] = deque([(clock(), done)])
        self._burst_began = float("-inf")
        self._begins_with_start = True

    def note(self, done: int) -> None:
        """So many units are done now."""
        now = self._clock()
        if now - self._burst_began < BURST_SECONDS:
            self._bursts[-1] = (now, done)
            return
        self._bursts.append((now, done))
        self._burst_began = now
        if self._begins_with_start and len(self._bursts) > 2 and self._outweighs_start(now):
            self._forget_oldest()
        window = min(max(MIN_WINDOW_SECONDS, WINDOW_GAPS * self._longest_gap()), MAX_WINDOW_SECONDS)
        while len(self._bursts) > 2 and self._bursts[1][0] < now - window:
            self._forget_oldest()

    def measure(self, left: float) -> tuple[float | None, float | None]:
        """Units a second, and the seconds that `left` more will take; both None until something moved."""
        (first, before), (last, done) = self._bursts[0], self._bursts[-1]
        if done <= before or last <= first:
            return None, None
        # Between two bursts the next one is under way; only a silence longer than any before says that it got slower.
        silence = self._clock() - last
        usual = self._longest_gap()
        rate = (done - before) / (last - first + max(0.0, silence - usual))
        return rate, max(0.0, left / rate - min(silence, usual))

    def _forget_oldest(self) -> None:
        self._bursts.popleft()
        self._begins_with_start = False

    def _longest_gap(self) -> float:
        return max(later - earlier for (earlier, _), (later, _) in pairwise(self._bursts))

    def _outweighs_start(self, now: float) -> bool:
        """Whether the time since the first burst is long enough, beside the time before it, to be measured alone."""
        (start, _), (first, _) = self._bursts[0], self._bursts[1]
        return now - first >= (first - start) / 2
