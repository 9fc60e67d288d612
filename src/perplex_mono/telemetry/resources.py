"""Memory, processor and disk as readiness sees them, inside the limits of the container the process runs in."""

import shutil
from pathlib import Path

import psutil

from perplex_mono.telemetry.cgroups import tightest_memory
from perplex_mono.telemetry.supervision import ComponentStatus

DISK_WARNING_FRACTION = 0.95


class ResourceProbes:
    """Each probe says `degraded` above its share."""

    def __init__(self, data_directory: Path, *, memory_fraction: float, processor_fraction: float) -> None:
        self._data_directory = data_directory
        self._memory_fraction = memory_fraction
        self._processor_fraction = processor_fraction
        psutil.cpu_percent()

    def warn_above(self, *, memory_fraction: float, processor_fraction: float) -> None:
        """Judge by these shares from now on."""
        self._memory_fraction = memory_fraction
        self._processor_fraction = processor_fraction

    def memory(self) -> ComponentStatus:
        """Memory used, of the container's limit where there is one, else of the machine."""
        memory = tightest_memory()
        return self._judge("memory", memory.used / memory.limit, self._memory_fraction)

    def processor(self) -> ComponentStatus:
        """Processor time used since the last look."""
        return self._judge("processor", psutil.cpu_percent() / 100, self._processor_fraction)

    def disk(self) -> ComponentStatus:
        """Space used on the disk of the data directory."""
        usage = shutil.disk_usage(self._data_directory)
        return self._judge("disk", 1 - usage.free / usage.total, DISK_WARNING_FRACTION)

    def _judge(self, name: str, share: float, limit: float) -> ComponentStatus:
        if share > limit:
            return ComponentStatus(name, "degraded", f"{share:.0%} in use, more than {limit:.0%}")
        return ComponentStatus(name, "ok", None)
