"""Rewrites the database of an older version once, so that its file can become smaller when things are deleted.

SQLite decides with the first table whether a file can give pages back, and changes its mind only by writing it anew.
"""

import sqlite3
import time
from contextlib import closing
from pathlib import Path

from loguru import logger

from perplex_mono.errors import StorageFull
from perplex_mono.storage.disk_full import DiskReserve
from perplex_mono.storage.lance_files import fsync_path
from perplex_mono.storage.snapshots import copy_database, is_incremental
from perplex_mono.storage.written_files import publish
from perplex_mono.telemetry.failpoints import failpoint

MAX_REWRITE_SECONDS = 20.0
# What no disk writes in that time, so nothing is gained by beginning: about 200 MB/s were measured.
MAX_REWRITE_BYTES = 8 << 30


def make_shrinkable(path: Path, reserve: DiskReserve) -> None:
    """Rewrite the database unless it can shrink already: the old file or the new one, whole, whenever this is killed.

    To be called before anything opens it, with the data directory locked. A start must not depend on it: without room
    above the reserve, or when it takes too long or fails, the file stays as it is, and a warning says why.
    """
    rewritten = path.with_name(f"{path.name}.rewritten")
    rewritten.unlink(missing_ok=True)  # what a killed start left
    if not path.exists():
        return
    started = time.monotonic()
    try:
        size_bytes = path.stat().st_size
        if _is_shrinkable(path):
            return
        _require_feasible(path, size_bytes, reserve)
        _fold_log(path)
        copy_database(path, rewritten, lambda: time.monotonic() - started > MAX_REWRITE_SECONDS)
        fsync_path(str(rewritten))
        failpoint("before_database_rewritten")
        publish(rewritten, path)
    except (sqlite3.Error, OSError, StorageFull) as error:
        rewritten.unlink(missing_ok=True)
        logger.warning("database.not_rewritten", error=str(error))
        return
    logger.info(
        "database.rewritten",
        before_bytes=size_bytes,
        after_bytes=path.stat().st_size,
        seconds=round(time.monotonic() - started, 3),
    )


def _is_shrinkable(path: Path) -> bool:
    """Whether pages can be given back; a file without pages becomes so when it is first written."""
    with closing(sqlite3.connect(path)) as connection:
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        return pages == 0 or is_incremental(connection)


def _require_feasible(path: Path, size_bytes: int, reserve: DiskReserve) -> None:
    log = path.with_name(f"{path.name}-wal")
    needed_bytes = size_bytes + (log.stat().st_size if log.exists() else 0)
    if needed_bytes > MAX_REWRITE_BYTES:
        raise InterruptedError(f"The database is too large to be rewritten at a start: {needed_bytes} bytes.")
    reserve.require(path.parent, needed_bytes)


def _fold_log(path: Path) -> None:
    """Bring the log into the file and remove it: it must not be taken for the log of the new file."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        (mode,) = connection.execute("PRAGMA journal_mode=DELETE").fetchone()
        if mode != "delete":
            raise sqlite3.OperationalError("The log of the database could not be folded into it.")
