"""Whether an address can be listened on."""

import socket

from perplex_mono.errors import ConfigurationError


def require_free_port(host: str, port: int) -> None:
    """Raise `ConfigurationError` unless it is free. Two servers can share a port unnoticed (SO_REUSEPORT)."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise ConfigurationError(
                f"Nothing can listen on {host}:{port} ({error.strerror}). Is another server running there?"
                " Choose another port with server.port or PERPLEX_SERVER__PORT."
            ) from error
