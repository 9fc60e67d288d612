"""Lance writes its files without fsync; this module makes them survive a power loss, and mends a table after one.

Lance never changes a file once written, so a file is known by its name: synced once, it stays synced.
"""

import os
import shutil
from pathlib import Path

from loguru import logger

TABLE_SUFFIX = ".lance"
MAGIC = b"LANC"
FOOTER_BYTES = 16
FIRST_NEWEST_FIRST_NAME = 1 << 63


class SyncedFolder:
    """Remembers which files below `folder` have reached the disk, so that each is fsynced once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._synced: set[str] = set()

    def sync(self) -> int:
        """Fsync every file that is new since the last call, then the folders that name them; return how many files.

        The first call fsyncs all: a process killed between commit and fsync leaves files that only look safe.
        """
        present: set[str] = set()
        fresh: list[str] = []
        changed_folders: list[str] = []
        for root, folders, names in os.walk(self._folder):
            paths = [os.path.join(root, name) for name in names]  # noqa: PTH118 - thousands of files per call
            new = [path for path in paths if path not in self._synced]
            fresh += new
            present.update(paths)
            present.add(root)
            if new or root not in self._synced or any(f"{root}/{name}" not in self._synced for name in folders):
                changed_folders.append(root)
        synced_files = [path for path in fresh if fsync_path(path)]
        for root in reversed(changed_folders):
            fsync_path(root)
        self._synced = present
        return len(synced_files)


def fsync_folder(folder: Path) -> None:
    """Make the creation or removal of entries of `folder` durable."""
    fsync_path(str(folder))


def quarantine_broken_manifests(table_folder: Path, quarantine: Path) -> list[str]:
    """Move the newest manifests that were cut short aside, so that the version before them opens; return their names.

    Only evidence in the file itself counts (no footer, or a footer pointing outside the file): a table that fails to
    open for another reason keeps all its versions. The last manifest of a table is never moved.
    """
    manifests = sorted(_manifests(table_folder), key=_version, reverse=True)
    broken: list[Path] = []
    for manifest in manifests[:-1]:
        if _sound_manifest(manifest):
            break
        broken.append(manifest)
    if not broken:
        return []
    target = quarantine / table_folder.name
    target.mkdir(parents=True, exist_ok=True)
    for manifest in broken:
        shutil.move(manifest, target / manifest.name)
        logger.warning("vectors.manifest_quarantined", table=table_folder.stem, manifest=manifest.name)
    fsync_folder(table_folder / "_versions")
    return [manifest.name for manifest in broken]


def truncated_files(table_folder: Path) -> list[str]:
    """Name the data and index files that do not end as Lance ends a file; opening and counting do not notice these."""
    files = [*table_folder.glob("data/*.lance"), *table_folder.glob("_indices/*/*.lance")]
    return sorted(str(path.relative_to(table_folder)) for path in files if not _ends_with_magic(path))


def folder_bytes(folder: Path) -> int:
    """Size of all files below `folder`."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def fsync_path(path: str) -> bool:
    """Fsync a file or folder; False if it vanished meanwhile (Lance renames and deletes its own files)."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return True


def _manifests(table_folder: Path) -> list[Path]:
    return [path for path in table_folder.glob("_versions/*.manifest") if path.stem.isdigit()]


def _version(manifest: Path) -> int:
    """Lance names manifests by version, or by 2^64 - 1 - version so that the newest lists first."""
    number = int(manifest.stem)
    return (1 << 64) - 1 - number if number >= FIRST_NEWEST_FIRST_NAME else number


def _sound_manifest(manifest: Path) -> bool:
    """Whether the footer is whole: offset of the message (8 bytes), format version (4), magic (4), little-endian."""
    content = manifest.read_bytes()
    if len(content) < FOOTER_BYTES or content[-4:] != MAGIC:
        return False
    position = int.from_bytes(content[-FOOTER_BYTES:-8], "little")
    length = int.from_bytes(content[position : position + 4], "little")
    return length > 0 and position + 4 + length <= len(content) - FOOTER_BYTES


def _ends_with_magic(path: Path) -> bool:
    with path.open("rb") as file:
        if file.seek(0, os.SEEK_END) < FOOTER_BYTES:
            return False
        file.seek(-4, os.SEEK_END)
        return file.read(4) == MAGIC
