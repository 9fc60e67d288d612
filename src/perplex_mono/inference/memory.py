"""How much memory and how many cores this process may really use: a container's limit, not the machine's size."""

import ctypes
import gc
import os
import sys
from pathlib import Path

from perplex_mono.telemetry.cgroups import CGROUP_MEMBERSHIP, CGROUP_ROOT, processor_quotas, tightest_memory

M_ARENA_MAX = -8  # malloc.h


def available_memory_bytes(root: Path = CGROUP_ROOT, membership: Path = CGROUP_MEMBERSHIP) -> int:
    """Return the bytes that can still be taken: the tightest of the machine's and every enclosing control group's room.

    Page cache that the kernel gives back on demand (pages of files) counts as free, as in the machine's own figure.
    """
    return tightest_memory(root, membership).free


def usable_cores(root: Path = CGROUP_ROOT, membership: Path = CGROUP_MEMBERSHIP) -> int:
    """Return how many cores this process may keep busy: its affinity, cut to a control group's processor quota."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([cores, *(max(1, round(quota)) for quota in processor_quotas(root, membership))]))


def limit_arenas(count: int = 2) -> None:
    """Have glibc share so few heaps among the threads started from now on, unless MALLOC_ARENA_MAX says otherwise.

    With one heap for each thread, what a burst leaves unused in one is of no use to the others: 50 MB here.
    """
    if sys.platform == "linux" and "MALLOC_ARENA_MAX" not in os.environ:
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
        if mallopt is not None:
            mallopt(M_ARENA_MAX, count)


def return_free_memory() -> None:
    """Ask glibc to hand unused heap back to the system; does nothing where that does not exist."""
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)


def settle_objects() -> None:
    """Collect garbage once, and spare what survives all later collections.

    After a model is loaded that is a million objects of libraries, which live as long as the process. Visiting them
    stopped every thread for 0.3 s, now and then, in the middle of somebody's request.
    """
    gc.unfreeze()
    gc.collect()
    gc.freeze()
