"""Guessing passwords is slow, and nobody can lock somebody else out."""

import pytest

from perplex_mono.accounts.attempts import LoginAttempts
from perplex_mono.errors import Overloaded


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def attempts(clock: Clock, max_failures: int = 3) -> LoginAttempts:
    return LoginAttempts(max_failures=max_failures, window_seconds=600, clock=clock)


def test_after_so_many_failures_the_window_has_to_pass() -> None:
    clock = Clock()
    tries = attempts(clock)
    for _ in range(3):
        tries.require_allowed("1.1.1.1", "ada")
        tries.failed("1.1.1.1", "ada")
        clock.now += 100
    with pytest.raises(Overloaded) as refusal:
        tries.require_allowed("1.1.1.1", "ada")
    assert refusal.value.retry_after_seconds == 300
    clock.now += 301
    tries.require_allowed("1.1.1.1", "ada")


def test_the_owner_comes_in_from_elsewhere() -> None:
    tries = attempts(Clock())
    for number in range(100):
        tries.failed(f"9.9.9.{number}", "ada")
        tries.failed("6.6.6.6", "ada")
    tries.require_allowed("1.1.1.1", "ada")


def test_an_address_cannot_try_name_after_name() -> None:
    tries = attempts(Clock())
    for number in range(15):
        tries.require_allowed("6.6.6.6", f"user{number}")
        tries.failed("6.6.6.6", f"user{number}")
    with pytest.raises(Overloaded):
        tries.require_allowed("6.6.6.6", "another")


def test_a_success_forgets_failures() -> None:
    tries = attempts(Clock())
    for _ in range(2):
        tries.failed("1.1.1.1", "ada")
    tries.succeeded("1.1.1.1", "ada")
    for _ in range(2):
        tries.failed("1.1.1.1", "ada")
    tries.require_allowed("1.1.1.1", "ada")
