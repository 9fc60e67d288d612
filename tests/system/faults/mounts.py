"""Small file systems of a test's own, to be filled and made read-only without harm to anybody else."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.system.faults.means import missing


class SmallDisk:
    """A mounted tmpfs."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._filler = path / "filler"

    def fill(self) -> None:
        """Take all the space there is."""
        block = b"x" * 65536
        with self._filler.open("ab", buffering=0) as file:
            for size in (len(block), 4096, 1):
                try:
                    while file.write(block[:size]) == size:
                        pass
                except OSError:
                    continue

    def free(self) -> None:
        """Give the space back."""
        self._filler.unlink()

    def remount(self, option: str) -> None:
        """Make it `ro` or `rw`; nobody may have a file open on it for writing."""
        done = _mount("-o", f"remount,{option}", str(self.path))
        assert done.returncode == 0, done.stderr


@contextmanager
def small_disk(path: Path, megabytes: int) -> Iterator[SmallDisk]:
    """A tmpfs of so many megabytes at `path`, gone at the end. Needs the right to mount."""
    if not sys.platform.startswith("linux"):
        missing("small disks are made with Linux' tmpfs")
    path.mkdir()
    mounted = _mount("-t", "tmpfs", "-o", f"size={megabytes}m,mode=0700", "tmpfs", str(path))
    if mounted.returncode:
        missing(f"a tmpfs cannot be mounted here: {mounted.stderr.strip()}")
    try:
        yield SmallDisk(path)
    finally:
        subprocess.run(["umount", "-l", str(path)], check=False, capture_output=True)


def _mount(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["mount", *arguments], check=False, capture_output=True, text=True)
