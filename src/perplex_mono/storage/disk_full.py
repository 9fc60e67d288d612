"""A full disk by any of its names: each driver words it in its own way, the rest of the product knows `StorageFull`."""

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from perplex_mono.errors import StorageFull, causes

MESSAGE = "The disk is full; nothing was stored. Free some space and try again."
_NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT})
_WORDS = ("no space left on device", "database or disk is full", "quota exceeded")


def is_disk_full(error: BaseException | None) -> bool:
    """Whether the error or its cause is a full disk, by the system's number or by SQLite's or Lance's words."""
    for cause in causes(error):
        if isinstance(cause, StorageFull) or (isinstance(cause, OSError) and cause.errno in _NO_SPACE):
            return True
        if any(words in str(cause).lower() for words in _WORDS):
            return True
    return False


@contextmanager
def disk_full_told() -> Iterator[None]:
    """Turn a full disk inside the block into `StorageFull`; other errors pass."""
    try:
        yield
    except OSError as error:
        if is_disk_full(error):
            raise StorageFull(MESSAGE) from error
        raise


@dataclass
class DiskReserve:
    """Space that stays free: the larger of so many bytes and such a share of the disk, but never more than half."""

    reserve_bytes: int
    reserve_fraction: float

    def keep(self, reserve_bytes: int, reserve_fraction: float) -> None:
        """Keep so much free from now on."""
        self.reserve_bytes, self.reserve_fraction = reserve_bytes, reserve_fraction

    def bytes_of(self, total_bytes: int) -> int:
        """What stays free of a disk of this size."""
        return min(max(self.reserve_bytes, int(total_bytes * self.reserve_fraction)), total_bytes // 2)

    def require(self, directory: Path, needed_bytes: int = 0) -> None:
        """Raise `StorageFull` when writing so much into `directory` would go into the reserve."""
        usage = shutil.disk_usage(directory)
        reserve = self.bytes_of(usage.total)
        if usage.free >= reserve + needed_bytes:
            return
        needed = f"the {needed_bytes} that are needed"
        if reserve:
            asked = f" and {needed}" if needed_bytes else ""
            problem = (
                f"The disk has {usage.free} bytes free, less than the reserve of {reserve}"
                f" (limits.disk_reserve_bytes, limits.disk_reserve_fraction){asked}."
            )
        else:
            problem = f"The disk has {usage.free} bytes free, less than {needed}."
        raise StorageFull(f"{problem} Free some space; nothing was stored.")
