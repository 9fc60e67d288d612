"""The one way by which the server reads something of somebody else's: bounded in every direction, never inwards.

It sends no cookies and no referrer, and credentials only to services that the operator named; it ignores proxies of the
environment, asks for no compression (so that a few bytes cannot become many), and looks at every redirect as at a new
address.
"""

import asyncio
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import urljoin

import httpcore

from perplex_mono import __version__
from perplex_mono.errors import Forbidden, TooLarge, Unavailable
from perplex_mono.outbound.addressing import checked_url, hosts_of, shown_host
from perplex_mono.outbound.connections import CheckedConnections, Resolve, resolve
from perplex_mono.outbound.policy import POLICIES, OutboundRules, Purpose

MAX_CONNECTIONS = 20
TOLD_CHARS = 200
_BROKEN = (httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError)
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


@dataclass(frozen=True)
class Outgoing:
    """What is asked: `content` is JSON, which makes it a POST; `token` is a bearer credential."""

    url: str
    content: bytes | None = None
    token: str = field(default="", repr=False)

    @property
    def method(self) -> Literal["GET", "POST"]:
        return "GET" if self.content is None else "POST"


@dataclass(frozen=True)
class Fetched:
    """What was read, and from where in the end."""

    url: str
    status: int
    media_type: str
    content: bytes


@dataclass(frozen=True)
class Streamed:
    """What is being read; `parts` are its bytes as they arrive, to be asked for once."""

    url: str
    status: int
    media_type: str
    parts: AsyncGenerator[bytes, None]


class AnsweredError(Unavailable):
    """An answer with a status from 400; `told` is what a service that the operator named says about it."""

    def __init__(self, component: str, status: int, told: str = "") -> None:
        super().__init__(component, f"it answers {status}{told and f': {told}'}")
        self.status = status
        self.told = told


class Fetcher:
    """Asks for one of the listed purposes, within its rules."""

    def __init__(
        self, policies: dict[Purpose, OutboundRules] | None = None, *, resolve_name: Resolve = resolve
    ) -> None:
        self._policies = POLICIES if policies is None else policies
        self._resolve = resolve_name

    async def fetch(self, url: str, purpose: Purpose, *, content: bytes | None = None, token: str = "") -> Fetched:
        """Read an answer as a whole. Raises what `stream` raises."""
        async with self.stream(url, purpose, content=content, token=token) as answer:
            return Fetched(
                answer.url, answer.status, answer.media_type, b"".join([part async for part in answer.parts])
            )

    @asynccontextmanager
    async def stream(
        self, url: str, purpose: Purpose, *, content: bytes | None = None, token: str = ""
    ) -> AsyncIterator[Streamed]:
        """Read an answer as it arrives; leaving the block hangs up. All of it, and the block, has `total_seconds`.

        Raises `InvalidInput` for what is no web address, `Forbidden` for what may not be called, `TooLarge`, and
        `Unavailable` when it does not answer in time, with another type than the purpose reads, or (`AnsweredError`)
        with an error.
        """
        rules, name = self._policies[purpose], purpose.replace("_", " ")
        wanted = Outgoing(url, content, token)
        if rules.origins is None and (token or content is not None):
            raise Forbidden(f"No {name} is sent credentials or bodies.")
        try:
            async with asyncio.timeout(rules.total_seconds) as limit, AsyncExitStack() as stack:
                yield await _Call(wanted, name, rules, self._resolve, stack).answer()
        except TimeoutError:
            if not limit.expired():
                raise  # the caller's own
            raise Unavailable(name, f"it took longer than {rules.total_seconds:g} s") from None
        except _BROKEN as error:
            raise Unavailable(name, _broken(error, shown_host(url))) from error


class _Call:
    """One call with all its redirects; what it opens is closed with the stack."""

    def __init__(
        self, wanted: Outgoing, name: str, rules: OutboundRules, resolve_name: Resolve, stack: AsyncExitStack
    ) -> None:
        self._wanted = wanted
        self._name = name
        self._rules = rules
        self._connections = CheckedConnections(hosts_of(rules), resolve_name, name)
        self._stack = stack

    async def answer(self) -> Streamed:
        pool = await self._stack.enter_async_context(
            httpcore.AsyncConnectionPool(
                max_connections=MAX_CONNECTIONS, network_backend=self._connections, http1=True, http2=False
            )
        )
        url = self._wanted.url
        for _ in range(self._rules.max_redirects + 1):
            response = await self._ask(pool, checked_url(url, self._rules, self._name))
            headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.headers}
            if response.status not in _REDIRECTS or "location" not in headers:
                await self._require_readable(response, headers)
                return Streamed(url, response.status, _media_type(headers), self._bounded(response))
            await response.aclose()
            url = urljoin(url, headers["location"])
        raise Unavailable(self._name, f"it redirects more than {self._rules.max_redirects} times")

    async def _ask(self, pool: httpcore.AsyncConnectionPool, url: str) -> httpcore.Response:
        headers = [
            ("User-Agent", f"perplex-mono/{__version__}"),
            ("Accept", ", ".join(sorted(self._rules.media_types))),
            ("Accept-Encoding", "identity"),
        ]
        if self._wanted.token:
            headers.append(("Authorization", f"Bearer {self._wanted.token}"))
        if self._wanted.content is not None:
            headers.append(("Content-Type", "application/json"))
        rules = self._rules
        limits = {"connect": rules.connect_seconds, "read": rules.first_seconds, "write": rules.silence_seconds}
        return await self._stack.enter_async_context(
            pool.stream(
                self._wanted.method, url, headers=headers, content=self._wanted.content, extensions={"timeout": limits}
            )
        )

    async def _require_readable(self, response: httpcore.Response, headers: Mapping[str, str]) -> None:
        if response.status >= 400:
            raise AnsweredError(self._name, response.status, await self._told(response))
        if _media_type(headers) not in self._rules.media_types:
            raise Unavailable(self._name, f"it is '{_media_type(headers)[:80]}', which is not read")
        if headers.get("content-encoding", "identity").lower() != "identity":
            raise Unavailable(self._name, "it is compressed although that was not asked for")

    async def _told(self, response: httpcore.Response) -> str:
        """The beginning of what an error says; nothing of pages, which could belong to anybody."""
        if self._rules.origins is None:
            return ""
        text = b""
        with suppress(Unavailable, TooLarge, *_BROKEN):  # the status says more than how its body broke off
            async with aclosing(self._bounded(response)) as parts:
                async for part in parts:
                    text += part
                    if len(text) >= TOLD_CHARS:
                        break
        shown = "".join(char if char.isprintable() else " " for char in text.decode("utf-8", "replace"))
        return " ".join(shown.split())[:TOLD_CHARS]

    async def _bounded(self, response: httpcore.Response) -> AsyncGenerator[bytes, None]:
        """The body as it arrives, as long as it does not pause for too long and is not too large."""
        parts = aiter(response.aiter_stream())
        seconds, count = self._rules.first_seconds, 0
        while True:
            try:
                async with asyncio.timeout(seconds):
                    part = await anext(parts)
            except StopAsyncIteration:
                return
            except TimeoutError:
                raise Unavailable(self._name, f"it said nothing for {seconds:g} s") from None
            count += len(part)
            if count > self._rules.max_bytes:
                raise TooLarge(f"The {self._name} says more than {self._rules.max_bytes} bytes.")
            yield part
            seconds = self._rules.silence_seconds


def _broken(error: Exception, host: str) -> str:
    """What went wrong on the way to `host`."""
    match error:
        case httpcore.ConnectError(args=(ssl.SSLError(),)):  # httpcore forgets the cause, but holds what it was
            return f"{host} speaks no TLS, or shows a certificate that is not trusted here"
        case httpcore.ConnectError() | httpcore.ConnectTimeout():
            return f"{host} cannot be reached"
        case httpcore.TimeoutException():
            return f"{host} took too long"
        case httpcore.ProtocolError():
            return f"{host} does not speak HTTP"
        case _:
            return f"the connection to {host} broke"


def _media_type(headers: Mapping[str, str]) -> str:
    return headers.get("content-type", "").partition(";")[0].strip().lower()
