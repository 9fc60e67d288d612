"""Which folders of this machine may be read at all: those below `sources.roots`."""

from collections.abc import Sequence
from pathlib import Path

from perplex_mono.errors import ConfigurationError, NotFound
from perplex_mono.sources.walking import identity_of, is_inside

NO_ROOTS = (
    "No folder of this machine may be read yet. Name those that may in the setting sources.roots, for example"
    ' roots = ["/srv/documents"] under [sources] in config.toml, or PERPLEX_SOURCES__ROOTS=/srv/documents.'
)


class AllowedFolders:
    """The one place that decides whether a path may be read. Looks at the disk, so call it on a thread."""

    def __init__(self, roots: Sequence[str], data_directory: Path) -> None:
        self._roots = roots
        self._data_directory = data_directory

    def resolve(self, path: str) -> str:
        """The folder's real path. Raises `NotFound` for all that is not a folder below a root, whatever the reason.

        Raises `ConfigurationError` when there are no roots.
        """
        if not self._roots:
            raise ConfigurationError(NO_ROOTS)
        try:
            folder = Path(path)
            resolved = folder.resolve(strict=True)
            is_folder = folder.is_absolute() and ".." not in folder.parts and resolved.is_dir()
        except (OSError, ValueError, RuntimeError):
            is_folder = False
        if not is_folder or not self._allows(resolved):
            raise NotFound("folder that may be read", path[:1000])
        return str(resolved)

    def require(self, path: str) -> None:
        """Raise `NotFound` unless the path, which was resolved once, still may be read; it may be absent."""
        if not self._allows(Path(path)) or Path(path).resolve() != Path(path):
            raise NotFound("folder that may be read", path)

    def forbidden(self) -> dict[str, str]:
        """Folders never entered, by device and inode, with the reason."""
        try:
            return {identity_of(self._data_directory.stat()): "it is the data directory of this library"}
        except OSError:
            return {}

    def _allows(self, resolved: Path) -> bool:
        roots = [str(Path(root).expanduser().resolve()) for root in self._roots]
        is_ours = is_inside(str(resolved), str(self._data_directory))
        return not is_ours and any(is_inside(str(resolved), root) for root in roots)
