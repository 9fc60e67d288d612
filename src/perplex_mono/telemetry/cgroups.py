"""What the control groups around this process allow it, under the layouts of version 2 and version 1."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

CGROUP_ROOT = Path("/sys/fs/cgroup")
CGROUP_MEMBERSHIP = Path("/proc/self/cgroup")
_UNLIMITED = 1 << 60  # version 1 writes "no limit" as a number near 2**63


@dataclass(frozen=True)
class Memory:
    """Bytes that may be used and bytes that are; page cache that the kernel gives back on demand is not in use."""

    limit: int
    used: int

    @property
    def free(self) -> int:
        """Bytes that can still be taken."""
        return max(0, self.limit - self.used)


def tightest_memory(root: Path = CGROUP_ROOT, membership: Path = CGROUP_MEMBERSHIP) -> Memory:
    """The memory of the machine or of an enclosing control group, whichever has least to spare."""
    machine = psutil.virtual_memory()
    memories = [Memory(int(machine.total), int(machine.total - machine.available))]
    memories.extend(_limits(root, membership))
    return min(memories, key=lambda memory: memory.free)


def processor_quotas(root: Path = CGROUP_ROOT, membership: Path = CGROUP_MEMBERSHIP) -> Iterator[float]:
    """The cores that each enclosing control group allows, where it limits them."""
    for group in _groups(root, membership, controller="cpu"):
        quota = _quota(group)
        if quota:
            yield quota


def _limits(root: Path, membership: Path) -> Iterator[Memory]:
    for group in _groups(root, membership, controller="memory"):
        limit = _number(group / "memory.max") or _number(group / "memory.limit_in_bytes")
        if limit is None or limit >= _UNLIMITED:
            continue
        used = _number(group / "memory.current") or _number(group / "memory.usage_in_bytes") or 0
        yield Memory(limit, used - _cached_file_bytes(group))


def _groups(root: Path, membership: Path, controller: str) -> Iterator[Path]:
    """This process's groups for a controller, innermost first."""
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


def _quota(group: Path) -> float | None:
    fields = " ".join(_lines(group / "cpu.max")).split()
    if len(fields) == 2 and fields[0] != "max":
        return int(fields[0]) / int(fields[1])
    quota, period = _number(group / "cpu.cfs_quota_us"), _number(group / "cpu.cfs_period_us")
    return quota / period if quota and period and quota > 0 else None


def _cached_file_bytes(group: Path) -> int:
    """What the kernel gives back on demand: pages of files, those that are read often too."""
    found: dict[str, int] = {}
    for line in _lines(group / "memory.stat"):
        name, _, value = line.partition(" ")
        if value.isdigit():
            found[name] = int(value)
    prefix = "total_" if "total_inactive_file" in found else ""  # version 1: those of groups below count too
    return found.get(f"{prefix}inactive_file", 0) + found.get(f"{prefix}active_file", 0)


def _number(path: Path) -> int | None:
    text = "".join(_lines(path)).strip()
    return int(text) if text.lstrip("-").isdigit() else None


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return []
