"""Which files of a folder are wanted: include and exclude globs over paths relative to it.

A glob without `/` is matched against the name, at any depth; one with `/` against the whole path, where `**` stands for
any number of folders. Upper and lower case are the same: scanners write `.PDF`.
"""

import fnmatch
import re
from collections.abc import Callable, Sequence
from functools import partial

RELATIVE = "Globs are relative to the folder: no '/' at the start, no '..'; for example '*.pdf' or 'reports/**'."
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


def find_fault(glob: str) -> str | None:
    """Why the glob cannot match anything in the folder, and what would be right; None when it can."""
    parts = glob.replace("\\", "/").split("/")
    if not glob.strip():
        return "A glob is empty. Leave it out, or use '**' for all files."
    if glob.startswith(("/", "\\", "~")) or ".." in parts or ":" in parts[0]:
        return f"The glob '{glob}' leads out of the folder. {RELATIVE}"
    if "\0" in glob:
        return "A glob has a zero byte, which no name has."
    if any(_has_open_bracket(part) for part in parts):
        return f"The glob '{glob}' has a '[' without its ']'. Close it, or write '[[]' for a '[' in a name."
    return None


def _has_open_bracket(part: str) -> bool:
    """Whether a `[` begins no set: one closes at the first `]` that is not the set's first character."""
    at = part.find("[")
    while at >= 0:
        first = at + 2 if part[at + 1 : at + 2] == "!" else at + 1
        end = part.find("]", first + 1)
        if end < 0:
            return True
        at = part.find("[", end)
    return False


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
