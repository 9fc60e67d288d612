"""What the process and its surroundings use: memory, processor, files, threads, and the disk of the data directory."""

import math
import resource
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from perplex_mono.telemetry.cgroups import tightest_memory

MEMORY_SECONDS = 1.0


class ProcessMetrics(Collector):
    """Asks the kernel when somebody looks, on whatever thread renders."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self._process = psutil.Process()
        self._memory_bytes = 0
        self._memory_read_at = float("-inf")
        if registry is not None:
            registry.register(self)

    def resident_memory(self) -> int:
        """Bytes of memory this process held at most a second ago: asking the kernel costs more than a health check."""
        now = time.monotonic()
        if now - self._memory_read_at > MEMORY_SECONDS:
            self._memory_bytes, self._memory_read_at = int(self._process.memory_info().rss), now
        return self._memory_bytes

    def collect(self) -> Iterator[Metric]:
        """The figures of this process, under the names that Prometheus' own clients give them."""
        process = self._process
        with process.oneshot():
            times = process.cpu_times()
            yield _gauge("process_resident_memory_bytes", "Resident memory", process.memory_info().rss)
            cpu = CounterMetricFamily("process_cpu_seconds", "Processor time, user and system")
            cpu.add_metric([], times.user + times.system)
            yield cpu
            yield _gauge("process_open_fds", "Open files and sockets", process.num_fds())
            yield _gauge("process_max_fds", "Most that may be open", resource.getrlimit(resource.RLIMIT_NOFILE)[0])
            yield _gauge("process_threads", "Threads", process.num_threads())
            yield _gauge("process_start_time_seconds", "When it began, Unix time", process.create_time())


class ResourceMetrics(Collector):
    """Memory within the container's limit, and the disk of a directory, of which `reserve` bytes are kept free."""

    def __init__(self, directory: Path, reserve: Callable[[], int], registry: CollectorRegistry) -> None:
        self._directory = directory
        self._reserve = reserve
        registry.register(self)

    def collect(self) -> Iterator[Metric]:
        """The figures as of now."""
        memory = tightest_memory()
        yield _gauge("memory_limit_bytes", "Memory that may be used: the container's limit, or all", memory.limit)
        yield _gauge("memory_used_bytes", "Of that, used; cache that can be given back left out", memory.used)
        yield _gauge("memory_used_fraction", "The used share of the limit", memory.used / memory.limit)
        total, free, reserve = self._disk()
        yield _gauge("disk_total_bytes", "Size of the disk of the data directory", total)
        yield _gauge("disk_free_bytes", "Free on the disk of the data directory", free)
        yield _gauge("disk_reserve_bytes", "With less than this free nothing is taken in", reserve)

    def _disk(self) -> tuple[float, float, float]:
        """Total, free, reserve; of a disk that cannot be read nothing is known, and the other figures matter more."""
        try:
            usage = shutil.disk_usage(self._directory)
            return usage.total, usage.free, self._reserve()
        except OSError:
            return math.nan, math.nan, math.nan


def _gauge(name: str, documentation: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, documentation, value)
