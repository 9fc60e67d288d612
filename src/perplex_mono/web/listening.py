"""What a process needs in order to listen: an address that is free, and room for its connections."""

import resource
import socket
from contextlib import suppress

from loguru import logger

from perplex_mono.errors import ConfigurationError

# Of the database, the index, the logs, the queue and the reader children; with room to spare.
OWN_FILES = 1024


def require_free_port(host: str, port: int) -> None:
    """Raise `ConfigurationError` unless it is free. Two servers can share a port unnoticed (SO_REUSEPORT)."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except (OSError, UnicodeError, TypeError) as error:  # the latter two for names that are none
        reason = getattr(error, "strerror", None) or error
        raise ConfigurationError(
            f"Nothing can listen on {host}:{port} ({reason}). Is another server running there?"
            " Choose another port with server.port or PERPLEX_SERVER__PORT."
        ) from error


def allow_connections(count: int) -> None:
    """Let the process have so many connections open beside its own files, as far as the system lets it.

    Each is an open file, of which many systems allow a process 1,024 unless it asks for more.
    """
    wanted = count + OWN_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < allowed:
        with suppress(OSError, ValueError):  # macOS has a limit of its own below that one
            resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        logger.warning("server.few_open_files", allowed=soft, wanted=wanted, setting="limits.max_connections")
