"""What the gate reads from the headers of a request."""

from collections.abc import Iterable, Mapping

TOKEN_PROTOCOL = "access_token."  # noqa: S105 - what stands before the token


def joined(headers: Iterable[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """Headers by name; repeated ones become one list between commas, so that no reader may pick the one it likes."""
    joined: dict[bytes, bytes] = {}
    for name, value in headers:
        joined[name] = joined[name] + b", " + value if name in joined else value
    return joined


def bearer_token(headers: Mapping[bytes, bytes]) -> str | None:
    kind, _, token = headers.get(b"authorization", b"").decode("latin-1").strip().partition(" ")
    return token.strip() if kind.lower() == "bearer" else None


def offered_protocol(headers: Mapping[bytes, bytes]) -> str | None:
    """The subprotocol that carries a token: browsers can send no header with a WebSocket."""
    offered = headers.get(b"sec-websocket-protocol", b"").decode("latin-1").split(",")
    return next((name.strip() for name in offered if name.strip().startswith(TOKEN_PROTOCOL)), None)


def may_be_json(headers: Mapping[bytes, bytes]) -> bool:
    """Whether there is a body that is not a form: handlers read those as JSON whatever they are declared to be."""
    has_body = b"content-length" in headers or b"transfer-encoding" in headers
    return has_body and not headers.get(b"content-type", b"").lower().startswith(b"multipart/")


def announced_length(headers: Mapping[bytes, bytes]) -> int:
    """The announced length of the body; 0 when there is none."""
    value = headers.get(b"content-length", b"")
    return int(value) if value.isdigit() else 0
