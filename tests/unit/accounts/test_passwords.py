"""Passwords: slow hashes on threads, a short queue, and names that nobody has take as long as those somebody has."""

import asyncio
from collections.abc import Iterator

import pytest

from perplex_mono.accounts import passwords as module
from perplex_mono.accounts.passwords import Passwords, require_good
from perplex_mono.errors import InvalidInput, Overloaded

GOOD = "a long walk along the canal"


@pytest.fixture
def passwords() -> Iterator[Passwords]:
    made = Passwords()
    yield made
    made.close()


async def test_only_the_right_password_matches(passwords: Passwords) -> None:
    stored = await passwords.hash(GOOD)
    assert stored.startswith("$argon2id$")
    assert await passwords.verify(stored, GOOD)
    assert not await passwords.verify(stored, GOOD + "x")
    assert not await passwords.verify("not a hash", GOOD)
    assert stored != await passwords.hash(GOOD)


async def test_nobodys_password_is_worked_at_and_never_right(passwords: Passwords) -> None:
    worked: list[str] = []
    original = module._is_right

    def counted(stored: str, password: str) -> bool:
        worked.append(stored)
        return original(stored, password)

    module._is_right = counted
    try:
        assert not await passwords.verify(None, "nobody has this password")
    finally:
        module._is_right = original
    assert worked[0].startswith("$argon2id$")


async def test_hashes_of_other_parameters_are_outdated(passwords: Passwords) -> None:
    assert not passwords.is_outdated(await passwords.hash(GOOD))
    assert passwords.is_outdated("$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ$qLml5cbVEGNOLzJfm1Vmb4Z0V5UDPcSLk3eBxpIrLmo")


async def test_more_than_a_few_at_once_are_refused(passwords: Passwords) -> None:
    waiting = [asyncio.create_task(passwords.hash(GOOD)) for _ in range(module.MAX_WAITING)]
    await asyncio.sleep(0)
    with pytest.raises(Overloaded):
        await passwords.hash(GOOD)
    assert all(await asyncio.gather(*waiting))


@pytest.mark.parametrize("password", ["short", "x" * 513, "aaaaaaaaaaaaaaaaaaa", "ada of london"])
def test_bad_passwords_are_refused(password: str) -> None:
    with pytest.raises(InvalidInput):
        require_good(password, "Ada of London")
