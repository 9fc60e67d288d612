"""What the doctor found, for people and programs."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import msgspec

Mend = Callable[[], Awaitable[str]]


@dataclass(frozen=True)
class Finding:
    """A broken promise: which check found it, at what, what is wrong.

    `mend` puts it right and says what it did; None where only a person can.
    """

    check: str
    subject: str
    problem: str
    mend: Mend | None = None


class FindingView(msgspec.Struct, frozen=True):
    """A finding as it is printed. `outcome` says what a repair did about it."""

    check: str
    subject: str
    problem: str
    repairable: bool
    outcome: str | None


class Report(msgspec.Struct, frozen=True):
    """An examination: the checks that ran, what they found, and whether anything is still wrong."""

    healthy: bool
    checks: list[str]
    findings: list[FindingView]
