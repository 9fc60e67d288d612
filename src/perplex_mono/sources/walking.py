"""The walk through a folder: what is there, in the order of the paths' bytes, and what is passed by, with the reason.

Runs on a thread. Nothing is opened: links are followed by their resolved path only, and pipes and devices are told by
their type.
"""

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from perplex_mono.errors import Unavailable
from perplex_mono.sources.globs import FileFilter

MAX_DEPTH = 64
LEADS_NOWHERE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)


@dataclass(frozen=True)
class FoundFile:
    """A regular file. `path` is relative and orders the walk; `place` is where to open it, links resolved."""

    path: bytes
    place: str
    size_bytes: int
    modified_ns: int
    identity: str


@dataclass(frozen=True)
class Skip:
    """What is there and is not read. A folder's path ends with `/`.

    `is_file` says that there may be a file as before, so that the document of its last content stays. `file` is given
    when the reason holds until the file changes.
    """

    path: bytes
    reason: str
    is_file: bool = True
    file: FoundFile | None = None


Found = FoundFile | Skip


@dataclass
class Walk:
    """One walk through `root`, which must be a resolved path. `avoid` are folders never entered, by identity."""

    root: str
    wanted: FileFilter
    is_recursive: bool
    avoid: dict[str, str] = field(default_factory=dict)
    _devices: dict[int, str] = field(default_factory=dict, init=False)  # each with the first place that lay on it

    def run(self) -> Iterator[Found]:
        """Everything wanted, ordered by path. Raises `Unavailable` when the folder itself cannot be read."""
        try:
            entries = _entries(self.root)
            status = Path(self.root).stat()
        except OSError as error:
            raise Unavailable(f"The folder '{printable(self.root)}'", error.strerror or str(error)) from error
        self._devices[status.st_dev] = self.root
        visited = {**self.avoid, identity_of(status): "it contains itself"}
        yield from self._folder("", entries, visited, 0)

    def devices_there(self) -> set[int]:
        """The file systems on which the walk met anything, without those that have gone away since."""
        return {device for device, place in self._devices.items() if _device_of(place) == device}

    def _folder(
        self, prefix: str, entries: list[os.DirEntry[str]], visited: dict[str, str], depth: int
    ) -> Iterator[Found]:
        found = [each for entry in entries for each in self._look(prefix + entry.name, entry)]
        for each in sorted(found, key=lambda each: each.path):
            if isinstance(each, _Folder):
                yield from self._enter(each, visited, depth + 1)
            else:
                yield each

    def _enter(self, folder: "_Folder", visited: dict[str, str], depth: int) -> Iterator[Found]:
        if (reason := visited.get(folder.identity)) is not None:
            yield Skip(folder.path, reason, is_file=False)
            return
        if depth > MAX_DEPTH:
            yield Skip(folder.path, f"it lies more than {MAX_DEPTH} folders deep", is_file=False)
            return
        visited[folder.identity] = f"its files are read as '{printable(folder.name)}/' already"
        try:
            entries = _entries(folder.place)
        except OSError as error:
            yield Skip(folder.path, f"the folder cannot be read: {error.strerror}")
            return
        yield from self._folder(folder.name + "/", entries, visited, depth)

    def _look(self, name: str, entry: os.DirEntry[str]) -> "Sequence[Found | _Folder]":
        """What the entry is; nothing when it is not wanted, or gone again."""
        try:
            if entry.is_symlink():
                found = self._follow(name, entry.path)
            else:
                found = self._judge(name, entry.path, entry.stat(follow_symlinks=False))
        except FileNotFoundError:
            return []
        except OSError as error:
            return self._unreadable(name, entry, f"it cannot be looked at: {error.strerror}")
        return [found] if found is not None else []

    def _follow(self, name: str, link: str) -> "Found | _Folder | None":
        """Where a link leads, if that is inside the folder."""
        if not (self.wanted.wants_file(name) or (self.is_recursive and self.wanted.wants_folder(name))):
            return None
        try:
            place = os.path.realpath(link, strict=True)
        except OSError as error:
            if error.errno not in LEADS_NOWHERE:
                raise
            return Skip(os.fsencode(name), "the link leads nowhere, or in a circle", is_file=False)
        if not is_inside(place, self.root):
            return Skip(os.fsencode(name), "the link leads out of the folder", is_file=False)
        return self._judge(name, place, Path(place).lstat())

    def _judge(self, name: str, place: str, status: os.stat_result) -> "Found | _Folder | None":
        self._devices.setdefault(status.st_dev, place)
        if stat.S_ISDIR(status.st_mode):
            if not self.is_recursive or not self.wanted.wants_folder(name):
                return None
            return _Folder(os.fsencode(name) + b"/", name, place, identity_of(status))
        if not self.wanted.wants_file(name):
            return None
        if not stat.S_ISREG(status.st_mode):
            return Skip(os.fsencode(name), f"it is {_kind(status.st_mode)}, not a file", is_file=False)
        return FoundFile(os.fsencode(name), place, status.st_size, status.st_mtime_ns, identity_of(status))

    def _unreadable(self, name: str, entry: os.DirEntry[str], reason: str) -> list[Skip]:
        """An entry that is there and says nothing of itself: what it stood for stays, and all that lies below it.

        Whether it is a folder was often said by the listing already. Where it was not, it may be either.
        """
        is_folder = _is_listed_as_folder(entry)
        skips: list[Skip] = []
        if is_folder is not True and self.wanted.wants_file(name):
            skips.append(Skip(os.fsencode(name), reason))
        if is_folder is not False and self.is_recursive and self.wanted.wants_folder(name):
            skips.append(Skip(os.fsencode(name) + b"/", reason))
        return skips


@dataclass(frozen=True)
class _Folder:
    path: bytes
    name: str
    place: str
    identity: str


def _entries(folder: str) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        return list(entries)


def _is_listed_as_folder(entry: os.DirEntry[str]) -> bool | None:
    """What the listing said, without another look; None when it did not, or said only that it is a link."""
    try:
        return None if entry.is_symlink() else entry.is_dir(follow_symlinks=False)
    except OSError:
        return None


def identity_of(status: os.stat_result) -> str:
    """Device and inode: the same as long as a file stays on its file system, whatever it is called."""
    return f"{status.st_dev}:{status.st_ino}"


def _device_of(place: str) -> int | None:
    try:
        return Path(place).lstat().st_dev
    except OSError:
        return None


def is_inside(place: str, folder: str) -> bool:
    """Whether a resolved path is the folder or below it."""
    return place == folder or place.startswith(folder.rstrip(os.sep) + os.sep)


def printable(path: str | bytes) -> str:
    """The path as text that can be stored and shown; bytes that are not UTF-8 become `�`."""
    return os.fsencode(path).decode("utf-8", "replace")


def _kind(mode: int) -> str:
    for is_kind, name in (
        (stat.S_ISFIFO, "a pipe"),
        (stat.S_ISSOCK, "a socket"),
        (stat.S_ISCHR, "a device"),
        (stat.S_ISBLK, "a device"),
    ):
        if is_kind(mode):
            return name
    return "something else"
