"""One process per data directory: two would each believe the other's running work to be orphaned."""

import fcntl
import os
from contextlib import suppress
from pathlib import Path
from typing import Self

from perplex_mono.errors import Conflict
from perplex_mono.storage.replacing import complete_replacement

LOCK_NAME = "lock"
MODE = 0o700


class DataDirectory:
    """The folder that holds everything, locked for this process from `open` to `close` (or the process's end)."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.database = path / "perplex.db"
        self.blobs = path / "blobs"
        self.vectors = path / "vectors"
        self.models = path / "models"
        self.queue = path / "queue"
        self._lock: int | None = None

    def open(self) -> Self:
        """Make the folder if need be and lock it, and finish a restore that was killed in its last moment.

        Only this user may enter it, also when it was there before (a mount, a folder made by hand); one of somebody
        else's keeps its mode. Raises `Conflict` when another process holds it.
        """
        self.path.mkdir(parents=True, exist_ok=True, mode=MODE)
        with suppress(OSError):  # somebody else's, or read-only, which is told when it is written to
            self.path.chmod(MODE)
        descriptor = os.open(self.path / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            owner = os.pread(descriptor, 20, 0).decode(errors="replace").strip() or "unknown"
            os.close(descriptor)
            in_use = f"is in use by another process (pid {owner}). Stop it first."
            raise Conflict(f"The data directory '{self.path}' {in_use}") from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        self._lock = descriptor
        complete_replacement(self.path)
        return self

    def close(self) -> None:
        """Let another process have it."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None
