"""Memory of a process and all its children as the kernel shares it out: proportional set size, sampled on a thread."""

import threading
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

SAMPLE_SECONDS = 0.2


def tree_bytes(pid: int) -> int:
    """Proportional set size of the tree in bytes (resident size where the kernel does not tell the other)."""
    try:
        root = psutil.Process(pid)
        family = [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0
    return sum(_bytes_of(process) for process in family)


class PeakMemory:
    """Inside the block the tree is sampled five times a second; `bytes` is the largest sum seen."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.bytes = 0
        self.samples = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while True:
            self.bytes = max(self.bytes, tree_bytes(self._pid))
            self.samples += 1
            if self._stop.wait(SAMPLE_SECONDS):
                return


def _bytes_of(process: psutil.Process) -> int:
    try:
        rollup = Path(f"/proc/{process.pid}/smaps_rollup").read_text(encoding="ascii")
    except FileNotFoundError:
        rollup = ""
    except (ProcessLookupError, PermissionError):
        return 0
    for line in rollup.splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    try:
        return int(process.memory_info().rss)
    except psutil.NoSuchProcess:
        return 0
