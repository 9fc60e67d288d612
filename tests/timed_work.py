"""Work that notes how its waiting goes, in place of an attempt whose silence is timed."""

from collections.abc import Iterator
from contextlib import contextmanager

from perplex_mono.telemetry.waiting import TimedWork, timed_work_var


class NotedWork:
    """Counts how often it was told that its line moved, and its tasks that do not stand in line."""

    def __init__(self) -> None:
        self.marks = 0
        self.working = 1

    def mark_waiting(self) -> None:
        self.marks += 1

    def count_working(self, change: int) -> None:
        self.working += change


@contextmanager
def working_at(work: TimedWork) -> Iterator[None]:
    """Do in this block, and in tasks that begin in it, what belongs to this work."""
    token = timed_work_var.set(work)
    try:
        yield
    finally:
        timed_work_var.reset(token)
