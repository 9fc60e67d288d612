"""Which ends of an attempt deserve another one, and after how long."""

import random
from collections.abc import Callable, Mapping
from typing import Final

from perplex_mono.errors import (
    ConfigurationError,
    Conflict,
    DataCorrupt,
    DocumentFailure,
    Forbidden,
    Incomplete,
    InvalidInput,
    NotFound,
    Overloaded,
    PerplexError,
    StaleLease,
    Stalled,
    StorageFull,
    TooLarge,
    Unauthenticated,
    Unavailable,
)

RETRY_SECONDS: Final = (2.0, 10.0, 60.0)

# Whether the same work could end better at another time, for every kind of error we raise.
_IS_TRANSIENT: Final[Mapping[type[PerplexError], bool]] = {
    ConfigurationError: False,
    InvalidInput: False,
    Incomplete: False,
    Unauthenticated: False,
    Forbidden: False,
    NotFound: False,
    Conflict: False,
    TooLarge: False,
    DataCorrupt: False,  # a person repairs or restores, and then says retry
    DocumentFailure: False,
    Overloaded: True,
    StorageFull: True,
    Unavailable: True,
    Stalled: True,
    StaleLease: True,  # somebody else is at it, or will be
}


def is_transient(error: Exception) -> bool:
    """Whether another attempt could end better.

    An error that is none of ours may be anything, a hiccup of a driver included: it gets its few attempts.
    """
    for kind in type(error).__mro__:
        if kind in _IS_TRANSIENT:
            return _IS_TRANSIENT[kind]
    return True


def retry_pause_seconds(attempt: int, random_fraction: Callable[[], float] = random.random) -> float:
    """How long to wait after the attempt with this number, counted from 1: at least half of its step, at random.

    What failed together must not come back together ("equal jitter": Brooker, Exponential Backoff And Jitter, 2015).
    """
    step = RETRY_SECONDS[min(max(attempt, 1), len(RETRY_SECONDS)) - 1]
    return round(step / 2 + step / 2 * random_fraction(), 3)
