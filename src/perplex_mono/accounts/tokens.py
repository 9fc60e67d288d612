"""Tokens that prove who somebody is: random, kept only as hashes, and useless to whoever reads the database.

There is nothing to forge: a token carries no claims and no signature, only the id of its row and 256 random bits. So
there is no signing key that could be short, stolen or left at its default.
"""

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from typing import Literal

SECRET_BYTES = 32
MAX_TOKEN_CHARS = 200
Kind = Literal["pma", "pmr", "pmk"]
"""Access token, refresh token, API key: a leaked one can be recognised by its beginning."""

_KINDS: dict[str, Kind] = {"pma": "pma", "pmr": "pmr", "pmk": "pmk"}


@dataclass(frozen=True, repr=False)
class Token:
    """A token taken apart."""

    kind: Kind
    row_id: str
    secret: str

    def __str__(self) -> str:
        return f"{self.kind}_{self.row_id}_{self.secret}"

    @property
    def hash(self) -> str:
        """What is stored. The secret is random, so a fast hash is as good as a slow one."""
        return _hash(self.secret)

    @property
    def family(self) -> str:
        """The part of a refresh token that all of its login have in common."""
        return self.secret.partition(".")[0]

    def matches(self, stored_hash: str) -> bool:
        """Whether this is the token of that hash, in constant time."""
        return hmac.compare_digest(self.hash, stored_hash)

    def is_of_family(self, stored_hash: str) -> bool:
        """Whether this was, at some time, a refresh token of the login with that family, in constant time."""
        return hmac.compare_digest(family_hash(self.family), stored_hash)


def new_token(kind: Kind, row_id: str) -> Token:
    """A token for a row."""
    return Token(kind, row_id, secrets.token_urlsafe(SECRET_BYTES))


def new_family() -> str:
    """The common part of a new login's refresh tokens."""
    return secrets.token_urlsafe(SECRET_BYTES)


def family_hash(family: str) -> str:
    """What is stored of a family."""
    return _hash(family)


def new_refresh_token(row_id: str, family: str) -> Token:
    """The next refresh token of a login: its family, and 256 bits of its own."""
    return Token("pmr", row_id, f"{family}.{secrets.token_urlsafe(SECRET_BYTES)}")


def parse_token(text: str) -> Token | None:
    """Take a token apart; None for anything that is none."""
    if len(text) > MAX_TOKEN_CHARS or not text.isascii():
        return None
    kind, _, rest = text.partition("_")
    row_id, _, secret = rest.partition("_")
    known = _KINDS.get(kind)
    return Token(known, row_id, secret) if known and row_id and secret else None


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
