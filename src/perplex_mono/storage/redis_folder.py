"""The private folder of one Redis child: made fresh, locked while its owner lives, swept when the owner is gone."""

import fcntl
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from perplex_mono.errors import Unavailable

FOLDER_PREFIX = "perplex-redis-"
SOCKET_NAME = "redis.sock"


@contextmanager
def redis_folder(parents: list[Path]) -> Iterator[Path]:
    """A new empty folder (mode 0700) in the first of `parents` where a Unix socket can live; removed at the end.

    Its lock is the kernel's and ends with this process, so folders of dead owners are told from living ones, and
    removed on the way. Raises `Unavailable` when no parent will do (read-only, path over 107 bytes, no sockets).
    """
    folder, lock = _claim_in_first(parents)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def _claim_in_first(parents: list[Path]) -> tuple[Path, int]:
    problems = []
    for parent in parents:
        try:
            parent.mkdir(parents=True, exist_ok=True)
            sweep(parent)
            return _claim(parent)
        except OSError as error:
            problems.append(f"{parent}: {error.strerror or error}")
    raise Unavailable("redis", f"no folder can hold its socket ({'; '.join(problems)})")


def _claim(parent: Path) -> tuple[Path, int]:
    while True:
        folder = Path(tempfile.mkdtemp(prefix=FOLDER_PREFIX, dir=parent))
        lock = _lock(folder)
        if lock is None:  # another process swept it before it was locked
            continue
        try:
            _try_socket(folder / SOCKET_NAME)
        except OSError:
            shutil.rmtree(folder, ignore_errors=True)
            os.close(lock)
            raise
        return folder, lock


def sweep(parent: Path) -> None:
    """Removes the folders in `parent` that belong to this user and whose owner no longer lives."""
    for folder in parent.glob(FOLDER_PREFIX + "*"):
        with suppress(OSError):
            if folder.is_symlink() or folder.stat().st_uid != os.getuid():
                continue
            lock = _lock(folder)
            if lock is not None:
                shutil.rmtree(folder, ignore_errors=True)
                os.close(lock)


def _lock(folder: Path) -> int | None:
    """An open handle that holds the folder's lock, or None if another process holds it or the folder is gone."""
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if folder.exists():
            return handle
    except BlockingIOError:
        pass
    except OSError:
        os.close(handle)
        raise
    os.close(handle)
    return None


def _try_socket(path: Path) -> None:
    """Raises `OSError` if no Unix socket can stand at `path`: too long, or a file system that has none."""
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.bind(str(path))
        except OSError as error:
            raise OSError(f"a socket cannot stand here: {error}") from error
    path.unlink()
