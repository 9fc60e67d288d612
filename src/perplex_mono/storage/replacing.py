"""Swapping what a data directory holds for something else, so that a kill at any moment leaves one of the two, whole.

The new things wait in a folder inside the data directory, complete and on disk. A journal says what goes out and what
comes in; from the moment it is there the swap is decided, and whoever opens the directory next completes it. Inside,
because a data directory may be a mount point, which cannot be renamed, and because its lock then covers it all.
"""

import shutil
from collections.abc import Iterable
from pathlib import Path

import msgspec
from loguru import logger

from perplex_mono.storage.lance_files import fsync_folder
from perplex_mono.storage.written_files import write_durably
from perplex_mono.telemetry.failpoints import failpoint

JOURNAL = "restore.journal"
INCOMING = "restoring-"
OUTGOING = "before-restore-"


class Replacement(msgspec.Struct, frozen=True):
    """A swap that is decided: these names go from the directory to `aside`, then those come in from `staging`."""

    staging: str
    aside: str
    outgoing: list[str]
    incoming: list[str]


def replace_entries(directory: Path, replacement: Replacement) -> None:
    """Do the swap. All that comes in must be on disk already, and the directory locked by this process.

    Should it fail halfway, `is_decided` stays true, and the next `complete_replacement` goes on with it.
    """
    failpoint("before_restore_swap")
    write_durably(directory / JOURNAL, msgspec.json.encode(replacement))
    complete_replacement(directory)


def is_decided(directory: Path) -> bool:
    """Whether a swap was begun and is not over: what waits to come in must not be touched then."""
    return (directory / JOURNAL).exists()


def complete_replacement(directory: Path) -> None:
    """Finish the swap that a journal says was begun; without one, remove what a restore that was killed left.

    To be called by whoever has just locked the directory, before anything in it is opened.
    """
    journal = directory / JOURNAL
    if journal.is_file():
        replacement = msgspec.json.decode(journal.read_bytes(), type=Replacement)
        _move_out(directory, replacement)
        failpoint("mid_restore_swap")
        _move_in(directory, replacement)
        journal.unlink()
        fsync_folder(directory)
        logger.info("data_directory.replaced", aside=replacement.aside)
    for leftover in directory.glob(f"{INCOMING}*"):
        shutil.rmtree(leftover, ignore_errors=True)


def _move_out(directory: Path, replacement: Replacement) -> None:
    """What is aside already was moved by an earlier try: the name in the directory is the new one then."""
    if not replacement.outgoing:
        return
    aside = directory / replacement.aside
    aside.mkdir(exist_ok=True, mode=0o700)
    _move((name for name in replacement.outgoing if not (aside / name).exists()), directory, aside)


def _move_in(directory: Path, replacement: Replacement) -> None:
    staging = directory / replacement.staging
    _move((name for name in replacement.incoming if (staging / name).exists()), staging, directory)


def _move(names: Iterable[str], source: Path, target: Path) -> None:
    for name in names:
        (source / name).rename(target / name)
    fsync_folder(target)
    fsync_folder(source)
