"""The server in a network namespace of its own, where nothing is but loopback: a container with `--network none`."""

import ctypes
import fcntl
import os
import socket
import struct

from perplex_mono.__main__ import main

CLONE_NEWNET = 0x40000000  # sched.h
SIOCSIFFLAGS = 0x8914  # sockios.h
IFF_UP = 1


def leave_the_network() -> None:
    """Move this process into a new namespace and switch its loopback on. Raises `OSError` without the right to."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "unshare")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", IFF_UP))


if __name__ == "__main__":
    leave_the_network()
    os.environ["http_proxy"] = os.environ["https_proxy"] = "http://127.0.0.1:9"  # whoever asks for one is refused
    main()
