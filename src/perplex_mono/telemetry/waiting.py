"""Work says when it waits for others, to whatever times its silence.

Whose work it is stands in the context, as its trace does: what many share, a reader or a model, knows no operations.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from typing import Protocol


class TimedWork(Protocol):
    """Work whose silence is timed."""

    def mark_waiting(self) -> None:
        """Begin its silence anew: it waits, and for nothing that stands still. Safe on any thread."""
        ...

    def count_working(self, change: int) -> None:
        """So many more, or fewer, of its tasks do not stand in line."""
        ...


timed_work_var: ContextVar[TimedWork | None] = ContextVar("timed_work", default=None)


def mark_waiting() -> None:
    """Say that the work of this context waits on purpose; to be said each time that was checked."""
    waiter()()


def waiter() -> Callable[[], None]:
    """Give what an engine calls, on any thread, when the line moves in which the caller is about to stand."""
    work = timed_work_var.get()
    return _wait_unwatched if work is None else work.mark_waiting


@contextmanager
def in_line() -> Iterator[None]:
    """Do nothing in this block but wait for what others, who are timed themselves, hold or do."""
    with _counted(-1):
        yield


@contextmanager
def at_work() -> Iterator[None]:
    """Do a part of the work in this block, beside other parts of it."""
    with _counted(1):
        yield


@asynccontextmanager
async def in_turn(lock: asyncio.Lock | asyncio.Semaphore) -> AsyncIterator[None]:
    """Hold a lock during the block, having stood in line for it."""
    with in_line():
        await lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _counted(change: int) -> Iterator[None]:
    work = timed_work_var.get()
    if work is None:
        yield
        return
    work.count_working(change)
    try:
        yield
    finally:
        work.count_working(-change)


def _wait_unwatched() -> None:
    """Nobody times the one who waits: a question, say."""
