"""How fast documents become ready, learned from those that just did."""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

MIN_BYTES = 64 * 1024
_DECAY = 0.98  # so that about the last fifty documents of a kind count


@dataclass
class _Kind:
    """Decayed sums over documents of one media type."""

    seconds: float = 0.0
    bytes: float = 0.0


class Throughput:
    """Seconds of this server for a byte of each media type.

    Documents in work share the time that passes equally, so their shares add up to the time in which anything was done,
    however many are worked at together. Small documents count as `MIN_BYTES`: opening one costs more than its bytes.
    Nothing is kept over a restart: models and settings may be others then, and the first few documents tell.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._kinds: defaultdict[str, _Kind] = defaultdict(_Kind)
        self._in_work = 0
        self._share = 0.0  # seconds that a document in work since the beginning would have had for itself
        self._share_at = clock()

    @contextmanager
    def working(self, media_type: str, size_bytes: int) -> Iterator[None]:
        """The block makes a document ready. One that raises tells nothing of how long that takes."""
        self._change(1)
        began = self._share
        try:
            yield
        except BaseException:
            self._change(-1)
            raise
        self._change(-1)
        kind = self._kinds[media_type]
        kind.seconds = kind.seconds * _DECAY + self._share - began
        kind.bytes = kind.bytes * _DECAY + max(size_bytes, MIN_BYTES)

    def seconds_for(self, waiting: Mapping[str, int]) -> float | None:
        """How long so many bytes of each media type will take, small documents counted as `MIN_BYTES`.

        A type that was not seen yet counts as the average of all. None until any document became ready.
        """
        all_bytes = sum(kind.bytes for kind in self._kinds.values())
        if not all_bytes:
            return None
        average = sum(kind.seconds for kind in self._kinds.values()) / all_bytes
        return sum(size * self._seconds_a_byte(media_type, average) for media_type, size in waiting.items())

    def _seconds_a_byte(self, media_type: str, average: float) -> float:
        kind = self._kinds.get(media_type)
        return kind.seconds / kind.bytes if kind else average

    def _change(self, count: int) -> None:
        now = self._clock()
        if self._in_work:
            self._share += (now - self._share_at) / self._in_work
        self._share_at = now
        self._in_work += count
