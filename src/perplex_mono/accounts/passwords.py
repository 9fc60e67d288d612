"""Passwords, hashed with Argon2id. Slow on purpose, so a few at a time, on threads, and never a queue without end."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerifyMismatchError

from perplex_mono.errors import InvalidInput, Overloaded

Result = TypeVar("Result")

MIN_CHARS, MAX_CHARS = 12, 512
MIN_NAME_CHARS, MAX_NAME_CHARS = 2, 64
THREADS = 2
MAX_WAITING = 16

# RFC 9106, second recommended option: 64 MiB, three passes; one lane, since THREADS already use the cores.
_HASHER = PasswordHasher(time_cost=3, memory_cost=64 * 1024, parallelism=1)


class Passwords:
    """Makes and checks hashes."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="password")
        self._waiting = 0
        self._nobodys: str | None = None

    async def hash(self, password: str) -> str:
        """The hash to store. Raises `Overloaded`."""
        return await self._run(_HASHER.hash, password)

    async def verify(self, stored: str | None, password: str) -> bool:
        """Whether the password is the one of that hash. None takes as long and is never right. Raises `Overloaded`."""
        if stored is None:
            if self._nobodys is None:
                self._nobodys = await self.hash("nobody has this password")
            await self._run(_is_right, self._nobodys, password)
            return False
        return await self._run(_is_right, stored, password)

    def is_outdated(self, stored: str) -> bool:
        """Whether the hash was made with other parameters than today's."""
        return _HASHER.check_needs_rehash(stored)

    def close(self) -> None:
        """Start nothing any more."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _run(self, work: Callable[..., Result], *arguments: str) -> Result:
        if self._waiting >= MAX_WAITING:
            raise Overloaded("Too many logins at once.", retry_after_seconds=5)
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work, *arguments)
        finally:
            self._waiting -= 1


def require_name(name: str) -> None:
    """Raise `InvalidInput` for a name that is too short, too long, or holds what cannot be seen or told apart."""
    is_plain = name.isprintable() and not any(character.isspace() or character in "/\\" for character in name)
    if not is_plain or not MIN_NAME_CHARS <= len(name) <= MAX_NAME_CHARS:
        raise InvalidInput(
            f"A name has {MIN_NAME_CHARS} to {MAX_NAME_CHARS} visible characters, none of them a blank or a slash."
        )


def require_good(password: str, name: str) -> None:
    """Raise `InvalidInput` for a password that is too short, too long, or the name."""
    if not MIN_CHARS <= len(password) <= MAX_CHARS:
        raise InvalidInput(f"A password has {MIN_CHARS} to {MAX_CHARS} characters; a sentence is easy to remember.")
    if password.casefold() == name.casefold():
        raise InvalidInput("The password must not be the name.")
    if len(set(password)) < 4:
        raise InvalidInput("The password repeats fewer than four characters; a sentence is easy to remember.")


def _is_right(stored: str, password: str) -> bool:
    try:
        return _HASHER.verify(stored, password)
    except (VerifyMismatchError, InvalidHashError):
        return False
