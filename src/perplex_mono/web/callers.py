"""Who makes a request, and what every route asks of them."""

from dataclasses import dataclass
from typing import Any, Final, Literal

Scope = Literal["read", "write", "admin"]
Policy = Literal["public", "read", "write", "admin"]
Credential = Literal["local", "session", "key"]

ALL_SCOPES: Final[frozenset[Scope]] = frozenset({"read", "write", "admin"})
LOCAL_USER: Final = "local"
"""The built-in user of local mode. The first user that is made takes its id, and so everything it has."""

POLICY = "policy"
PUBLIC: dict[str, Any] = {POLICY: "public"}
READ: dict[str, Any] = {POLICY: "read"}
WRITE: dict[str, Any] = {POLICY: "write"}
ADMIN: dict[str, Any] = {POLICY: "admin"}

SCOPE_KEY = "perplex.identity"
"""Where the gate leaves the `Identity` in the connection's scope."""


@dataclass(frozen=True)
class Caller:
    """A user, and what the credential it came with is good for. `credential_id` is a session's or a key's id."""

    user_id: str
    name: str
    scopes: frozenset[Scope]
    credential: Credential
    credential_id: str = ""

    @property
    def is_admin(self) -> bool:
        """Whether it may do what concerns everyone."""
        return "admin" in self.scopes


@dataclass(frozen=True)
class Identity:
    """What the gate found out about a request: the caller, or why there is none; and where it comes from."""

    caller: Caller | None
    reason: str = ""
    address: str = ""


LOCAL_CALLER: Final = Caller(user_id=LOCAL_USER, name=LOCAL_USER, scopes=ALL_SCOPES, credential="local")
