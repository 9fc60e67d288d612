"""Copies a found file into the blob store while hashing it, and notices when it changes under the copy.

A copy is kept because a citation must show the page as it was read, whatever became of the file since.
"""

import asyncio
import io
import os
import stat
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from perplex_mono.errors import TooLarge
from perplex_mono.library import signatures
from perplex_mono.library.media_types import SNIFF_BYTES, SUPPORTED, sniff
from perplex_mono.sources.walking import FoundFile, Skip, identity_of
from perplex_mono.storage.blobs import BUFFER_BYTES, BlobStore, IncomingBlob

CHANGED = "it changed while it was read; the next scan reads it again"
CONTAINERS = frozenset({signatures.ZIP, signatures.OLE})  # what is inside decides, and only a reader child looks there
_FLAGS = (
    os.O_RDONLY
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_BINARY", 0)
)


@dataclass(frozen=True)
class CopiedFile:
    """The bytes of a found file, on disk and not kept yet."""

    file: FoundFile
    blob: IncomingBlob
    media_type: str

    @property
    def path(self) -> bytes:
        """Where it was found."""
        return self.file.path


class FileReceiver:
    """Reads found files."""

    def __init__(self, blobs: BlobStore, *, max_bytes: int) -> None:
        self._blobs = blobs
        self._max_bytes = max_bytes

    def reason_against(self, file: FoundFile) -> str | None:
        """Why the file need not be opened, or None."""
        if file.size_bytes > self._max_bytes:
            return f"it has {file.size_bytes} bytes; at most {self._max_bytes} are taken (limits.max_upload_bytes)"
        return "the file is empty" if not file.size_bytes else None

    async def receive(self, file: FoundFile) -> CopiedFile | Skip:
        """The copied bytes, or why not. Raises `StorageFull`; what is raised or skipped leaves nothing behind."""
        try:
            opened = await asyncio.to_thread(_open, file.place)
        except OSError as error:
            return Skip(file.path, f"it cannot be opened: {error.strerror}")
        try:
            return await self._copy(file, opened)
        except TooLarge:
            return Skip(file.path, CHANGED)  # it was small enough a moment ago
        except _Unreadable as error:
            return Skip(file.path, str(error))
        finally:
            await asyncio.to_thread(opened.close)

    async def _copy(self, file: FoundFile, opened: io.FileIO) -> CopiedFile | Skip:
        if not await asyncio.to_thread(_is_still, file, opened):
            return Skip(file.path, CHANGED)
        head = await asyncio.to_thread(_read, opened, SNIFF_BYTES)
        media_type = sniff(head, os.fsdecode(file.path))
        if media_type not in SUPPORTED and media_type not in CONTAINERS:
            return Skip(file.path, signatures.advice(media_type), file=file)
        blob = await self._blobs.receive_all(_chunks(head, opened), self._max_bytes)
        if not await asyncio.to_thread(_is_still, file, opened):
            blob.discard()
            return Skip(file.path, CHANGED)
        return CopiedFile(file, blob, media_type)


class _Unreadable(Exception):
    """The disk, or the network, does not give the bytes."""


def _open(place: str) -> io.FileIO:
    """Never through a link, and never waiting for the other end of a pipe, whatever the name has become meanwhile."""
    return io.FileIO(place, opener=lambda path, _: os.open(path, _FLAGS))


async def _chunks(head: bytes, opened: io.FileIO) -> AsyncIterator[bytes]:
    yield head
    while data := await asyncio.to_thread(partial(_read, opened, BUFFER_BYTES)):
        yield data


def _read(opened: io.FileIO, size: int) -> bytes:
    try:
        return opened.read(size)
    except OSError as error:
        raise _Unreadable(f"it cannot be read: {error.strerror}") from error


def _is_still(file: FoundFile, opened: io.FileIO) -> bool:
    """Whether both the open file and the one at its place are the one that was found, untouched."""
    try:
        now = (os.fstat(opened.fileno()), Path(file.place).lstat())
    except OSError:
        return False
    return all(
        stat.S_ISREG(status.st_mode)
        and (identity_of(status), status.st_size, status.st_mtime_ns)
        == (file.identity, file.size_bytes, file.modified_ns)
        for status in now
    )
