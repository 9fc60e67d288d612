"""Whole files that appear at once or not at all."""

import os
from pathlib import Path

from perplex_mono.storage.disk_full import disk_full_told
from perplex_mono.storage.lance_files import fsync_folder


def write_durably(path: Path, content: bytes) -> None:
    """Put a file there (mode 0600), in place of an older one; when this returns it survives a power loss."""
    partial = path.with_name(f"{path.name}.partial")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with disk_full_told(), os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    publish(partial, path)


def publish(partial: Path, path: Path) -> None:
    """Give a finished file, synced already, its name."""
    partial.replace(path)
    fsync_folder(path.parent)
