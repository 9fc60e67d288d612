"""Ends with 0 if the server in this container says that it is alive.

Run with `python -I -S`: sockets alone, no package and no HTTP library, because it is started every few seconds. Port
and base path are those the server takes from its environment.
"""

import os
import socket
import sys

TIMEOUT_SECONDS = 3.0


def is_alive(port: int, base_path: str) -> bool:
    """Whether `/health` answers 200 in time."""
    request = f"GET {base_path.rstrip('/')}/health HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n"
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_SECONDS) as connection:
            connection.sendall(request.encode())
            status_line = connection.makefile("rb").readline(64)
    except OSError:
        return False
    return status_line.split()[1:2] == [b"200"]


if __name__ == "__main__":
    port = int(os.environ.get("PERPLEX_SERVER__PORT", "8080"))
    sys.exit(not is_alive(port, os.environ.get("PERPLEX_SERVER__BASE_PATH", "")))
