"""The one way by which the server reads something of somebody else's: bounded in every direction, never inwards.

It sends no cookies, no credentials and no referrer, ignores proxies of the environment, asks for no compression (so
that a few bytes cannot become many), and looks at every redirect as at a new address.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from urllib.parse import urljoin, urlsplit

import httpcore

from perplex_mono import __version__
from perplex_mono.errors import Forbidden, InvalidInput, TooLarge, Unavailable
from perplex_mono.outbound.connections import CheckedConnections, Resolve, resolve
from perplex_mono.outbound.policy import POLICIES, OutboundRules, Purpose

MAX_URL_CHARS = 2_000
MAX_CONNECTIONS = 20
DEFAULT_PORTS = {"http": 80, "https": 443}
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


@dataclass(frozen=True)
class Fetched:
    """What was read, and from where in the end."""

    url: str
    status: int
    media_type: str
    content: bytes


class Fetcher:
    """Fetches by GET for one of the listed purposes."""

    def __init__(
        self, policies: dict[Purpose, OutboundRules] | None = None, *, resolve_name: Resolve = resolve
    ) -> None:
        self._policies = POLICIES if policies is None else policies
        self._resolve = resolve_name

    async def fetch(self, url: str, purpose: Purpose) -> Fetched:
        """Read a page.

        Raises `InvalidInput` for what is no web address, `Forbidden` for what may not be called, `TooLarge`, and
        `Unavailable` when it does not answer in time, answers an error, or with something else than text.
        """
        rules = self._policies[purpose]
        try:
            async with asyncio.timeout(rules.total_seconds):
                return await self._follow(url, rules)
        except TimeoutError:
            raise Unavailable("web page", f"it took longer than {rules.total_seconds} s") from None
        except (httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError) as error:
            raise Unavailable("web page", f"{type(error).__name__} at {_host(url)}") from error

    async def _follow(self, url: str, rules: OutboundRules) -> Fetched:
        connections = CheckedConnections(rules.allowed_hosts, self._resolve)
        async with httpcore.AsyncConnectionPool(
            max_connections=MAX_CONNECTIONS, network_backend=connections, http1=True, http2=False
        ) as pool:
            for _ in range(rules.max_redirects + 1):
                answer = await self._get(pool, _checked(url, rules), rules)
                if isinstance(answer, Fetched):
                    return answer
                url = urljoin(url, answer)
        raise Unavailable("web page", f"it redirects more than {rules.max_redirects} times")

    async def _get(self, pool: httpcore.AsyncConnectionPool, url: str, rules: OutboundRules) -> Fetched | str:
        """The page, or where it went."""
        headers = [
            ("User-Agent", f"perplex-mono/{__version__}"),
            ("Accept", ", ".join(sorted(rules.media_types))),
            ("Accept-Encoding", "identity"),
        ]
        limits = {"connect": rules.connect_seconds, "read": rules.first_seconds, "write": rules.silence_seconds}
        async with pool.stream("GET", url, headers=headers, extensions={"timeout": limits}) as response:
            given = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.headers}
            if response.status in _REDIRECTS and "location" in given:
                return given["location"]
            return await _read(url, response, given, rules)


async def _read(url: str, response: httpcore.Response, headers: Mapping[str, str], rules: OutboundRules) -> Fetched:
    media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
    if response.status >= 400:
        raise Unavailable("web page", f"it answers {response.status}")
    if media_type not in rules.media_types:
        raise Unavailable("web page", f"it is '{media_type[:80]}', which is not read")
    if headers.get("content-encoding", "identity").lower() != "identity":
        raise Unavailable("web page", "it is compressed although that was not asked for")
    content = bytearray()
    async for part in _parts(response, rules):
        content += part
        if len(content) > rules.max_bytes:
            raise TooLarge(f"The page is larger than {rules.max_bytes} bytes.")
    return Fetched(url, response.status, media_type, bytes(content))


async def _parts(response: httpcore.Response, rules: OutboundRules) -> AsyncIterator[bytes]:
    """The body as it arrives, as long as it does not pause for too long."""
    parts = aiter(response.aiter_stream())
    seconds = rules.first_seconds
    while True:
        try:
            async with asyncio.timeout(seconds):
                part = await anext(parts)
        except StopAsyncIteration:
            return
        except TimeoutError:
            raise Unavailable("web page", f"it said nothing for {seconds:g} s") from None
        yield part
        seconds = rules.silence_seconds


def _checked(url: str, rules: OutboundRules) -> str:
    """The address itself, if it may be called at all. Raises `InvalidInput`, `Forbidden`."""
    if len(url) > MAX_URL_CHARS or not url.isascii() or not url.isprintable() or " " in url or "\\" in url:
        raise InvalidInput("This is not the address of a web page.")
    try:
        parts = urlsplit(url)
        port = parts.port or DEFAULT_PORTS.get(parts.scheme, 0)
    except ValueError as error:
        raise InvalidInput("This is not the address of a web page.") from error
    if parts.scheme not in DEFAULT_PORTS or not parts.hostname:
        raise InvalidInput("Only http and https addresses are read.")
    if parts.username is not None or parts.password is not None:
        raise Forbidden("Addresses with a name and a password are not called.")
    if port not in rules.ports and parts.hostname.lower() not in rules.allowed_hosts:
        raise Forbidden(f"Port {port} is not called; only {', '.join(map(str, sorted(rules.ports)))}.")
    return url


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or "?"
    except ValueError:
        return "?"
