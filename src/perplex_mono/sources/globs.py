"""Which files of a folder are wanted: include and exclude globs over paths relative to it.

A glob without `/` is matched against the name, at any depth; one with `/` against the whole path, where `**` stands for
any number of folders. Upper and lower case are the same: scanners write `.PDF`.
"""

import fnmatch
import re
from collections.abc import Callable, Sequence
from functools import partial

Segment = re.Pattern[str] | None  # None is `**`
_JUNK = ("thumbs.db", "desktop.ini", "~$*", "~lock.*#", "*.tmp", "*.part", "*.crdownload", "*.swp", "*~", "lost+found")


class FileFilter:
    """Decides about paths relative to the folder, with `/` between the parts.

    Hidden names (leading dot) and what programs leave behind beside documents are never wanted. Without `include`
    everything else is.
    """

    def __init__(self, include: Sequence[str], exclude: Sequence[str]) -> None:
        self._include = [_matcher(glob) for glob in include]
        self._exclude = [_matcher(glob) for glob in exclude]

    def wants_folder(self, path: str) -> bool:
        """Whether to look into the folder."""
        return not _is_passed_over(path) and not self._excludes(path)

    def wants_file(self, path: str) -> bool:
        """Whether to take the file; its folders were asked about before."""
        if _is_passed_over(path) or self._excludes(path):
            return False
        return not self._include or any(matches(path) for matches in self._include)

    def concerns(self, path: str) -> bool:
        """Whether a change at this path, which may be gone, can matter: no part of it is passed over or excluded."""
        parts = path.split("/")
        return all(self.wants_folder("/".join(parts[: count + 1])) for count in range(len(parts)))

    def _excludes(self, path: str) -> bool:
        return any(matches(path) for matches in self._exclude)


def leads_out(glob: str) -> bool:
    """Whether the glob points outside the folder, or nowhere."""
    parts = glob.replace("\\", "/").split("/")
    return not glob.strip() or glob.startswith(("/", "\\", "~")) or ".." in parts or "\0" in glob or ":" in parts[0]


def _is_passed_over(path: str) -> bool:
    name = path.rpartition("/")[2].lower()
    return name.startswith(".") or any(fnmatch.fnmatchcase(name, junk) for junk in _JUNK)


def _matcher(glob: str) -> Callable[[str], bool]:
    parts = glob.strip("/").split("/")
    if len(parts) == 1 and parts[0] != "**":
        parts = ["**", *parts]
    segments = [None if part == "**" else re.compile(fnmatch.translate(part), re.IGNORECASE) for part in parts]
    if len(segments) > 1 and segments[-1] is None:
        segments = segments[:-1]  # what is below a folder is meant, so the folder is too
        return partial(_matches_or_is_below, segments)
    return partial(_matches, segments)


def _matches_or_is_below(segments: Sequence[Segment], path: str) -> bool:
    parts = path.split("/")
    return any(_matches(segments, "/".join(parts[: count + 1])) for count in range(len(parts)))


def _matches(segments: Sequence[Segment], path: str) -> bool:
    """Greedy matching with one point to go back to, as for `*` in a name: quadratic at worst, never exponential."""
    parts = path.split("/")
    at = segment = 0
    restart: tuple[int, int] | None = None
    while at < len(parts):
        wanted = segments[segment] if segment < len(segments) else _NOTHING
        if wanted is None:
            segment += 1
            restart = (at, segment)
        elif wanted.match(parts[at]):
            at, segment = at + 1, segment + 1
        elif restart is not None:
            at, segment = restart[0] + 1, restart[1]
            restart = (at, segment)
        else:
            return False
    return all(left is None for left in segments[segment:])


_NOTHING = re.compile(r"(?!)")
