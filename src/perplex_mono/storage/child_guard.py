"""Starts a program that must not outlive this server, whatever kills the server.

Run as a script with nothing but the standard library: `python -I -S child_guard.py exec|watch PARENT_PID COMMAND...`.
`exec` asks the Linux kernel to kill the program with its parent and becomes the program; `watch`, for other
systems, stays beside the program and kills it when standard input, held open by the parent, closes.
"""

import os
import signal
import subprocess
import sys
import threading

PR_SET_PDEATHSIG = 1  # linux/prctl.h


def _die_with_parent() -> bool:
    """Whether the kernel promised to kill this process, and what it becomes, together with its parent thread."""
    import ctypes

    try:
        prctl = ctypes.CDLL(None, use_errno=True).prctl
    except (OSError, AttributeError):
        return False
    return bool(prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) == 0)


def _watch(command: list[str]) -> int:
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL)  # noqa: S603 - the server's own command line

    def kill_when_the_parent_is_gone() -> None:
        sys.stdin.buffer.read()
        child.kill()

    signal.signal(signal.SIGTERM, lambda *_: child.kill())
    threading.Thread(target=kill_when_the_parent_is_gone, daemon=True).start()
    return child.wait()


def main() -> int:
    """Runs the command and returns its exit code, or replaces this process by it."""
    mode, parent_pid, *command = sys.argv[1:]
    if mode == "exec" and _die_with_parent():
        if os.getppid() != int(parent_pid):  # it died before the kernel was asked
            return 1
        os.execv(command[0], command)  # noqa: S606 - no shell is the point
    return _watch(command)


if __name__ == "__main__":
    sys.exit(main())
