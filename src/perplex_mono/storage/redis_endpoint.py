"""What the queue asks of a Redis, whoever runs it: where it is."""

from typing import Protocol


class RedisEndpoint(Protocol):
    """Where a Redis can be reached, now or later."""

    async def wait_url(self) -> str:
        """The URL to connect to; waits, for ever if need be, while there is none."""
        ...

    def reason(self) -> str | None:
        """Why there is no URL now, in words for people; None when there is one."""
        ...


class ExternalRedis:
    """A Redis that somebody else runs, at a fixed URL."""

    def __init__(self, url: str) -> None:
        self._url = url

    async def wait_url(self) -> str:
        """The URL it was given."""
        return self._url

    def reason(self) -> str | None:
        """None: whether it answers is known by connecting."""
        return None
