"""The limits a reader child puts on itself before it touches a file that may be hostile."""

import contextlib
import ctypes
import os
import resource
import signal
import sys
from pathlib import Path

PR_SET_PDEATHSIG = 1  # linux/prctl.h
MAX_OPEN_FILES = 256
STATM = Path("/proc/self/statm")


def die_with_parent(parent_pid: int) -> None:
    """Have the kernel kill this process when its parent ends (Linux); elsewhere the closed stdin pipe does it.

    Ends the process at once when the parent is gone already, which the kernel would not notice.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent_pid:
        sys.exit("the parent process is gone")


def confine(niceness: int) -> None:
    """Lower the priority, forbid core dumps and cap the number of open files for the life of this process."""
    with contextlib.suppress(OSError):
        os.nice(niceness)
    _lower(resource.RLIMIT_CORE, 0)
    _lower(resource.RLIMIT_NOFILE, MAX_OPEN_FILES)


def limit_file_size(max_bytes: int) -> None:
    """Let no file written from now on pass `max_bytes`: the write fails with EFBIG (Python ignores SIGXFSZ)."""
    _lower(resource.RLIMIT_FSIZE, max_bytes)


def limit_memory(baseline_bytes: int, memory_bytes: int) -> None:
    """Let the address space grow by `memory_bytes` over the baseline; past it allocations fail as MemoryError.

    Linux only: other systems do not enforce RLIMIT_AS, there `rss_bytes` is compared between pages.
    """
    if sys.platform == "linux":
        _lower(resource.RLIMIT_AS, baseline_bytes + memory_bytes)


def address_space_bytes() -> int:
    """Size of this process's address space; 0 where the system does not tell."""
    return _statm(0)


def rss_bytes() -> int:
    """Resident memory now (Linux), or at its peak elsewhere.

    Not the peak on Linux: there a process begins with the peak of the one that started it.
    """
    return _statm(1) or peak_rss_bytes()


def peak_rss_bytes() -> int:
    """Highest resident memory of this process so far; the system counts KiB on Linux and bytes on macOS."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _statm(field: int) -> int:
    if not STATM.exists():
        return 0
    return int(STATM.read_text().split()[field]) * resource.getpagesize()


def _lower(kind: int, value: int) -> None:
    """Set the soft limit, within the hard one: soft limits can be set anew for the next document."""
    _, hard = resource.getrlimit(kind)
    soft = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(kind, (soft, hard))
