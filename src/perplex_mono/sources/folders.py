"""Which folders of this machine may be read at all: those below `sources.roots`."""

import os
from collections.abc import Sequence
from pathlib import Path

from perplex_mono.errors import ConfigurationError, InvalidInput, NotFound, Unavailable
from perplex_mono.sources.walking import identity_of, is_inside, printable

NO_ROOTS = (
    "No folder of this machine may be read yet. Name those that may in the setting sources.roots, for example"
    ' roots = ["/srv/documents"] under [sources] in config.toml, or PERPLEX_SOURCES__ROOTS=/srv/documents.'
    " It must be set for the server, and the server started again."
)
OUTSIDE = "such folders lie below one that the setting sources.roots names, and are given without '..'"
MAX_SHOWN_CHARS = 1000


class AllowedFolders:
    """The one place that decides whether a path may be read. Looks at the disk, so call it on a thread."""

    def __init__(self, roots: Sequence[str], data_directory: Path) -> None:
        self._roots = roots
        self._data_directory = data_directory

    def resolve(self, path: str) -> str:
        """The folder's real path.

        Raises `NotFound`, with one text, for all that lies outside the roots, whether it exists or not. What is wrong
        with a path below a root is no secret: `NotFound` when there is nothing, `InvalidInput` for a file, and
        `Unavailable` when the folder cannot be listed. Raises `InvalidInput` for a relative path, and
        `ConfigurationError` when there are no roots.
        """
        if not self._roots:
            raise ConfigurationError(NO_ROOTS)
        shown = printable(path[:MAX_SHOWN_CHARS])
        folder = Path(path)
        if not folder.is_absolute():
            raise InvalidInput(f"'{shown}' is a relative path; give an absolute path.")
        if "\0" in path or ".." in folder.parts:
            raise _outside(shown)
        resolved = os.path.realpath(path)
        if not self._allows(Path(resolved)):
            raise _outside(shown)
        _require_folder(resolved, shown)
        return resolved

    def require(self, path: str) -> None:
        """Raise `NotFound` unless the path, which was resolved once, still may be read; it may be absent."""
        if not self._allows(Path(path)) or Path(path).resolve() != Path(path):
            raise _outside(path)

    def find_missing_roots(self) -> list[str]:
        """The roots that are no folders now, as the setting names them; below them nothing can be followed."""
        return [root for root in self._roots if not os.path.isdir(_real_path(root))]  # noqa: PTH112  # never raises

    def forbidden(self) -> dict[str, str]:
        """Folders never entered, by device and inode, with the reason."""
        try:
            return {identity_of(self._data_directory.stat()): "it is the data directory of this library"}
        except OSError:
            return {}

    def _allows(self, resolved: Path) -> bool:
        roots = [_real_path(root) for root in self._roots]
        is_ours = is_inside(str(resolved), str(self._data_directory))
        return not is_ours and any(is_inside(str(resolved), root) for root in roots)


def _real_path(root: str) -> str:
    return os.path.realpath(os.path.expanduser(root))  # noqa: PTH111  # never raises, whoever's home it names


def _outside(path: str) -> NotFound:
    return NotFound("folder that may be read", path, OUTSIDE)


def _require_folder(resolved: str, shown: str) -> None:
    try:
        os.scandir(resolved).close()
    except FileNotFoundError as error:
        raise NotFound("folder", shown, "it does not exist") from error
    except NotADirectoryError as error:
        if not Path(resolved).exists():
            raise NotFound("folder", shown, "it does not exist") from error
        raise InvalidInput(f"'{shown}' is a file; give the folder that it lies in.") from error
    except OSError as error:
        reason = f"it cannot be read ({error.strerror or error})"
        raise Unavailable(f"The folder '{shown}'", reason) from error
