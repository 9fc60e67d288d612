"""The one-time token by which the first user is made on a server that others can reach."""

import hmac
import secrets
from pathlib import Path

from perplex_mono.errors import ConfigurationError

MIN_CHARS = 32


class SetupToken:
    """From a file of the owner's, or made anew at every start and shown in the log."""

    def __init__(self, file: str = "") -> None:
        """Raises `ConfigurationError` for a file that cannot be read or holds too short a token."""
        self.is_from_file = bool(file)
        # letters and digits alone: a sign in front would make an option of it
        self.value = _read(Path(file).expanduser()) if file else secrets.token_hex(32)

    def matches(self, given: str) -> bool:
        """Whether it is this one, in constant time."""
        return hmac.compare_digest(self.value.encode(), given.encode())


def _read(path: Path) -> str:
    try:
        value = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"auth.setup_token_file: '{path}' cannot be read: {error}") from error
    if len(value) < MIN_CHARS:
        raise ConfigurationError(
            f"auth.setup_token_file: the token in '{path}' has {len(value)} characters; it needs at least {MIN_CHARS},"
            " for example from `openssl rand -hex 32`."
        )
    return value
