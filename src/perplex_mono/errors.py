"""Every error this product raises on purpose. No HTTP here: `web/problems.py` maps kinds to answers.

PerplexError
├── ConfigurationError          a setting is wrong; the message names it and what would be right
├── InvalidInput                the caller sent something we cannot use
├── Incomplete                  the caller went silent or away before its request was whole
├── Unauthenticated             nobody, or with a credential that is not good (any more)
├── Forbidden                   somebody, but not with the right to do this
├── NotFound                    no such object, or not the caller's
├── Conflict                    the object's state does not allow this
├── TooLarge                    a size or count limit was passed
├── Overloaded                  a bounded queue is full; try again after `retry_after_seconds`
├── StorageFull                 the disk is below its reserve
├── Unavailable                 a component this call needs is not working now
├── Stalled                     long work got nothing done for too long; it is interrupted and tried again
├── StaleLease                  this worker lost its operation to another; its write was refused
├── DataCorrupt                 stored data does not match its hash or cannot be decoded
└── DocumentFailure             one document cannot be ingested; carries a stable code
"""

from collections.abc import Iterator
from typing import Final, Literal

FailureCode = Literal[
    "no_text",
    "encrypted",
    "corrupt",
    "unsupported",
    "too_large",
    "too_many_pages",
    "timeout",
    "memory",
    "ocr_unavailable",
    "internal",
]

RETRYABLE_FAILURES: frozenset[FailureCode] = frozenset({"timeout", "memory", "ocr_unavailable", "internal"})


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error and what caused it, each once: drivers may build chains that bite their own tail."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__


class PerplexError(Exception):
    """Base of every deliberate error; `str(error)` is a sentence a user can act on."""


class ConfigurationError(PerplexError):
    """A setting is unknown or has a value that cannot work."""


class InvalidInput(PerplexError):
    """The request is malformed or contradicts itself."""


class Incomplete(PerplexError):
    """The caller stopped sending in the middle of its request."""


class Unauthenticated(PerplexError):
    """The call needs a user, and came without a good credential."""


class Forbidden(PerplexError):
    """The user, or the credential it came with, has not the right to do this; never about somebody else's objects."""


class NotFound(PerplexError):
    """There is no such object for this caller; `reason` says why not or what there is, where that is no secret."""

    def __init__(self, kind: str, key: str, reason: str = "") -> None:
        super().__init__(f"There is no {kind} '{key}'{': ' if reason else ''}{reason}.")
        self.kind = kind
        self.key = key


class Conflict(PerplexError):
    """The object exists, but not in a state that allows the call."""


class TooLarge(PerplexError):
    """A limit on size or count was passed."""


class Overloaded(PerplexError):
    """A bounded queue is full."""

    def __init__(self, message: str, retry_after_seconds: int = 5) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class StorageFull(PerplexError):
    """Free disk space is below the reserve."""


class Unavailable(PerplexError):
    """A component is not working right now."""

    def __init__(self, component: str, reason: str) -> None:
        super().__init__(f"{component} is not available: {reason}")
        self.component = component
        self.reason = reason


class Stalled(PerplexError):
    """An attempt at long work did nothing durable for too long."""


class StaleLease(PerplexError):
    """A write carried an epoch that is no longer the operation's."""


class DataCorrupt(PerplexError):
    """Stored bytes are not what was stored."""


class DocumentFailure(PerplexError):
    """One document cannot be ingested, for a reason its owner can read."""

    def __init__(self, code: FailureCode, message: str) -> None:
        super().__init__(message)
        self.code: FailureCode = code

    @property
    def retryable(self) -> bool:
        """Whether the same bytes could succeed at another time."""
        return self.code in RETRYABLE_FAILURES


REFUSALS: Final = (InvalidInput, Unauthenticated, Forbidden, NotFound, Conflict, TooLarge, Overloaded)
"""Ends that answer the caller and say nothing against the server."""
