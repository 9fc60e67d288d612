"""A copy of the database as of one moment, made while others write."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from perplex_mono.errors import StorageFull
from perplex_mono.storage.disk_full import MESSAGE, is_disk_full

STEPS_BETWEEN_LOOKS = 100_000
INCREMENTAL = 2


def copy_database(source: Path, target: Path, is_stopped: Callable[[], bool]) -> None:
    """Write all that is committed now into the new file `target` (mode 0600), as `VACUUM INTO` does.

    Reading holds up no writer: the write-ahead log only grows meanwhile. What was deleted is not in the copy, not even
    as bytes of a free page. Blocks for about a second per 100 MB, so call it on a thread; `is_stopped` is asked now and
    then and ends it with `InterruptedError`. The copy can give free pages back, whether or not the original can.
    Raises `StorageFull`, and what SQLite raises.
    """
    target.touch(mode=0o600, exist_ok=False)
    address = f"{source.absolute().as_uri()}?mode=ro"
    with closing(sqlite3.connect(address, uri=True, isolation_level=None)) as connection:
        connection.set_progress_handler(lambda: int(is_stopped()), STEPS_BETWEEN_LOOKS)
        try:
            if not is_incremental(connection):  # told to a file that is so already, it begins a write
                connection.execute("PRAGMA auto_vacuum=INCREMENTAL")
            connection.execute("VACUUM INTO ?", (str(target),))
        except sqlite3.Error as error:
            if is_stopped():
                raise InterruptedError("The copy of the database was stopped.") from error
            if is_disk_full(error):
                raise StorageFull(MESSAGE) from error
            raise


def is_incremental(connection: sqlite3.Connection) -> bool:
    """Whether the file can give free pages back, with `PRAGMA incremental_vacuum`."""
    (mode,) = connection.execute("PRAGMA auto_vacuum").fetchone()
    return bool(mode == INCREMENTAL)
