"""What the doctor found, for people and programs."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import msgspec

Mend = Callable[[], Awaitable[str]]
Look = Callable[[], Awaitable[list["Finding"]]]


@dataclass(frozen=True)
class Finding:
    """A broken promise: which check found it, at what, what is wrong.

    `mend` puts it right and says what it did; None where only a person can.
    """

    check: str
    subject: str
    problem: str
    mend: Mend | None = None


@dataclass(frozen=True)
class Check:
    """A promise, how to look whether it holds, and what it means for people where it does not."""

    name: str
    look: Look
    means: str


class FindingView(msgspec.Struct, frozen=True):
    """A finding as it is printed. `means` is what follows from it, `outcome` what a repair did about it."""

    check: str
    subject: str
    problem: str
    means: str
    repairable: bool
    outcome: str | None


class Report(msgspec.Struct, frozen=True):
    """An examination: the checks that ran, what they found, and whether anything is still wrong."""

    healthy: bool
    checks: list[str]
    findings: list[FindingView]
