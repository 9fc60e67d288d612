"""Something that takes seconds to open, opened behind a server that already answers."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Generic, TypeVar

from loguru import logger
from msgspec.structs import replace

from perplex_mono.errors import Unavailable
from perplex_mono.telemetry.supervision import ComponentStatus

T = TypeVar("T")
RETRY_SECONDS = (1.0, 2.0, 5.0, 15.0, 30.0)


class Starting(Generic[T]):
    """Opens `T` in the background and again after a failure; callers take it when it is there, or wait.

    `opening` is given a function that takes what it is at, in words, for `status`.
    """

    def __init__(self, name: str, opening: Callable[[Callable[[str], None]], Awaitable[T]]) -> None:
        self._name = name
        self._opening = opening
        self._value: T | None = None
        self._opened = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._status = ComponentStatus(name=name, state="down", reason="starting", since=datetime.now(UTC))

    def start(self) -> None:
        """Begin opening."""
        self._task = asyncio.create_task(self._open(), name=f"starting-{self._name}")

    async def stop(self) -> T | None:
        """Stop trying; returns what was opened, for the caller to close."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        return self._value

    def get(self) -> T:
        """The value. Raises `Unavailable` while it is not there."""
        if self._value is None:
            raise Unavailable(self._name, self._status.reason or "starting")
        return self._value

    async def wait(self) -> T:
        """The value, as soon as it is there."""
        await self._opened.wait()
        return self.get()

    def status(self) -> ComponentStatus:
        """Whether it is open."""
        return self._status

    async def _open(self) -> None:
        for attempt in range(1_000_000):
            try:
                self._value = await self._opening(self._tell)
            except Exception as error:
                logger.exception("component.start_failed", component=self._name)
                self._status = replace(self._status, reason=str(error), restarts=attempt + 1)
                await asyncio.sleep(RETRY_SECONDS[min(attempt, len(RETRY_SECONDS) - 1)])
            else:
                self._status = ComponentStatus(self._name, "ok", None, datetime.now(UTC), restarts=attempt)
                self._opened.set()
                return

    def _tell(self, what: str) -> None:
        self._status = replace(self._status, reason=what)
