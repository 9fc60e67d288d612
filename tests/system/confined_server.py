"""The server as compose.yaml confines it, without a container engine: no network, nothing to write to, no rights.

It gets a network namespace that has nothing but loopback, a mount namespace in which everything is read-only but the
folders named in the environment, an empty set of capabilities, and no way to gain any.
"""

import ctypes
import fcntl
import os
import socket
import struct
import subprocess
import sys

WRITABLE_VARIABLE = "WRITABLE_FOLDERS"
CLONE_NEWNS = 0x00020000  # sched.h
CLONE_NEWNET = 0x40000000
SIOCSIFFLAGS = 0x8914  # sockios.h
IFF_UP = 1
WITHOUT_RIGHTS = ("setpriv", "--no-new-privs", "--bounding-set=-all", "--inh-caps=-all")


def leave_the_machine() -> None:
    """Move this process into namespaces of its own. Raises `OSError` without the right to."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET | CLONE_NEWNS) != 0:
        raise OSError(ctypes.get_errno(), "unshare")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", IFF_UP))


def forbid_writing(but: list[str]) -> None:
    """Make every file system of this namespace's root read-only, but for some folders."""
    mount("--make-rprivate", "/")
    for folder in but:
        mount("--bind", folder, folder)
    mount("--options", "remount,bind,ro", "/")


def mount(*arguments: str) -> None:
    """As the command of that name."""
    subprocess.run(["mount", *arguments], check=True)


if __name__ == "__main__":
    leave_the_machine()
    forbid_writing(os.environ[WRITABLE_VARIABLE].split(os.pathsep))
    os.chdir("/")
    os.execvp(WITHOUT_RIGHTS[0], [*WITHOUT_RIGHTS, sys.executable, "-m", "perplex_mono", "serve"])
