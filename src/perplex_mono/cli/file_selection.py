"""Which files a command line of paths means."""

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class SkippedFile:
    """A file that was not taken, and why."""

    path: Path
    reason: str


@dataclass
class Selection:
    """The files to take, in order and once each; those that cannot be read; and how many were passed over."""

    files: list[Path] = field(default_factory=list)
    skipped: list[SkippedFile] = field(default_factory=list)
    passed_over: int = 0


def select_files(paths: Sequence[Path], *, is_recursive: bool, exclude: Path) -> Selection:
    """The files named, and those in the folders named, sorted.

    In folders, hidden entries and symbolic links are passed over (a link may lead out of the folder, or in circles),
    and so is everything below `exclude`, the data directory.
    """
    selection = Selection()
    seen: set[Path] = set()
    for path in paths:
        found = _walk(path, is_recursive, exclude, selection) if path.is_dir() else iter((path,))
        for file in found:
            resolved = file.resolve()
            if resolved in seen:
                continue
            seen.add(resolved)
            reason = _why_not(file)
            if reason is None:
                selection.files.append(file)
            else:
                selection.skipped.append(SkippedFile(file, reason))
    return selection


def _walk(folder: Path, is_recursive: bool, exclude: Path, selection: Selection) -> Iterator[Path]:
    def report(error: OSError) -> None:
        place = Path(os.fsdecode(error.filename)) if error.filename else folder
        selection.skipped.append(SkippedFile(place, f"the folder cannot be read: {error.strerror}"))

    for place, folders, files in os.walk(folder, onerror=report, followlinks=False):
        here = Path(place)
        kept = [name for name in folders if not _is_passed_over(here / name) and (here / name).resolve() != exclude]
        selection.passed_over += len(folders) - len(kept)
        folders[:] = sorted(kept) if is_recursive else []
        for name in sorted(files):
            if _is_passed_over(here / name):
                selection.passed_over += 1
            else:
                yield here / name


def _is_passed_over(path: Path) -> bool:
    return path.name.startswith(".") or path.is_symlink()


def _why_not(path: Path) -> str | None:
    """Why the file cannot be read, or None. Opening comes later; this keeps pipes and devices from being opened."""
    try:
        status = path.stat()
    except OSError as error:
        return error.strerror or "it cannot be read"
    if not stat.S_ISREG(status.st_mode):
        return "it is not a regular file"
    return None if os.access(path, os.R_OK) else "permission denied"
