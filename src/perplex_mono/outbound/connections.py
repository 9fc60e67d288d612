"""Connections to addresses that were looked at: what is checked is what is connected to.

A name is resolved once for each connection, every address of it is judged, and the connection goes to one of those very
addresses. So a name that points elsewhere a moment later (rebinding) changes nothing.
"""

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

import httpcore

from perplex_mono.errors import Forbidden, Unavailable
from perplex_mono.outbound.addresses import Address, is_public

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]


async def resolve(host: str, port: int) -> Sequence[str]:
    """All addresses of a name, by the system's resolver. Raises `OSError`."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(entry[4][0]) for entry in found]


class CheckedConnections(httpcore.AsyncNetworkBackend):
    """Opens connections to public addresses, and to any address of an allowed host; `name` is what errors say."""

    def __init__(self, allowed_hosts: frozenset[str], resolve_name: Resolve = resolve, name: str = "web page") -> None:
        self._allowed_hosts = allowed_hosts
        self._resolve = resolve_name
        self._name = name
        self._backend = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """A connection to a checked address. Raises `Forbidden` if any address of the name is not public."""
        try:
            async with asyncio.timeout(timeout):
                addresses = [ipaddress.ip_address(text.partition("%")[0]) for text in await self._resolve(host, port)]
        except (OSError, TimeoutError, UnicodeError) as error:  # the last for labels that no name can have
            raise Unavailable(self._name, f"the name '{host}' cannot be resolved") from error
        self._require_allowed(host, addresses)
        failure: Exception | None = None
        for address in dict.fromkeys(addresses):
            try:
                return await self._backend.connect_tcp(str(address), port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure or Unavailable(self._name, f"the name '{host}' has no address")

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Never. Raises `Forbidden`."""
        raise Forbidden("Sockets of this machine are not called.")

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def _require_allowed(self, host: str, addresses: Sequence[Address]) -> None:
        if host.lower() in self._allowed_hosts:
            return
        for address in addresses:
            if not is_public(address):
                raise Forbidden(f"'{host}' is at {address}, which is not on the public internet.")
