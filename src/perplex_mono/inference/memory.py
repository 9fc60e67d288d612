"""How much memory and how many cores this process may really use: a container's limit, not the machine's size."""

import ctypes
import gc
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil

CGROUP_ROOT = Path("/sys/fs/cgroup")
CGROUP_MEMBERSHIP = Path("/proc/self/cgroup")
M_ARENA_MAX = -8  # malloc.h
_UNLIMITED = 1 << 60  # version 1 writes "no limit" as a number near 2**63


def available_memory_bytes(root: Path = CGROUP_ROOT, membership: Path = CGROUP_MEMBERSHIP) -> int:
    """Return the bytes that can still be taken: the tightest of the machine's and every enclosing control group's room.

    Page cache that the kernel gives back on demand (inactive files) counts as free, as in the machine's own figure.
    """
    room = [int(psutil.virtual_memory().available)]
    room.extend(_memory_room(root, membership))
    return max(0, min(room))


def usable_cores(root: Path = CGROUP_ROOT, membership: Path = CGROUP_MEMBERSHIP) -> int:
    """Return how many cores this process may keep busy: its affinity, cut to a control group's processor quota."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    for group in _groups(root, membership, controller="cpu"):
        quota = _cpu_quota(group)
        if quota:
            cores = min(cores, max(1, round(quota)))
    return max(1, cores)


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


def _memory_room(root: Path, membership: Path) -> Iterator[int]:
    for group in _groups(root, membership, controller="memory"):
        limit = _number(group / "memory.max") or _number(group / "memory.limit_in_bytes")
        if limit is None or limit >= _UNLIMITED:
            continue
        used = _number(group / "memory.current") or _number(group / "memory.usage_in_bytes") or 0
        yield limit - used + _inactive_file_bytes(group)


def _groups(root: Path, membership: Path, controller: str) -> Iterator[Path]:
    """Yield this process's groups for a controller, innermost first, under version 2 and version 1 layouts."""
    for line in _lines(membership):
        hierarchy, controllers, path = [*line.split(":", 2), "", ""][:3]
        version_two = hierarchy == "0" and not controllers
        if not version_two and controller not in controllers.split(","):
            continue
        base = root if version_two else root / controller
        yield from _upwards(base, path)


def _upwards(base: Path, path: str) -> Iterator[Path]:
    group = base / path.strip("/")
    while group != base:
        if group.is_dir():
            yield group
        group = group.parent
    if base.is_dir():
        yield base


def _cpu_quota(group: Path) -> float | None:
    fields = " ".join(_lines(group / "cpu.max")).split()
    if len(fields) == 2 and fields[0] != "max":
        return int(fields[0]) / int(fields[1])
    quota, period = _number(group / "cpu.cfs_quota_us"), _number(group / "cpu.cfs_period_us")
    return quota / period if quota and period and quota > 0 else None


def _inactive_file_bytes(group: Path) -> int:
    for line in _lines(group / "memory.stat"):
        name, _, value = line.partition(" ")
        if name in {"inactive_file", "total_inactive_file"} and value.isdigit():
            return int(value)
    return 0


def _number(path: Path) -> int | None:
    text = "".join(_lines(path)).strip()
    return int(text) if text.lstrip("-").isdigit() else None


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return []
