"""The file of a backup: a plain tar that any tar program lists, read here by the letter.

Manifest, members in its order, a last member with the manifest's hash, two empty blocks, the end. Headers are plain
ones of 512 bytes: no links, no extensions, nothing but regular files under the names that the manifest gives. So what
was added, cut off, renamed or changed in any byte that matters is found, and nothing is ever written by a name that a
file chose.
"""

import hashlib
import tarfile
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import BinaryIO, Final, Protocol

from perplex_mono.backups.manifest import (
    MAX_MANIFEST_BYTES,
    Heading,
    Manifest,
    Member,
    decode,
    decode_heading,
    digest,
    encode,
)
from perplex_mono.errors import DataCorrupt

MANIFEST: Final = "manifest.json"
SEAL: Final = "manifest.sha256"
BLOCK_BYTES: Final = 512
CHUNK_BYTES: Final = 1024 * 1024
CHECKSUM: Final = slice(148, 156)
END: Final = bytes(2 * BLOCK_BYTES)
OnBytes = Callable[[int], None]
"""Told of every chunk of a member that was handled; may raise to stop the work."""


class Sink(Protocol):
    """Where the bytes of a member go."""

    def write(self, data: bytes, /) -> object: ...


class _Nowhere:
    def write(self, data: bytes, /) -> None:
        """The bytes were only to be read."""


class ArchiveWriter:
    """Writes a backup in order: the manifest, each of its members, the end."""

    def __init__(self, file: BinaryIO, manifest: Manifest, on_bytes: OnBytes) -> None:
        self._file = file
        self._modified_at = int(manifest.created_at.timestamp())
        self._on_bytes = on_bytes
        self._manifest = encode(manifest)
        self._put(MANIFEST, self._manifest)

    def add(self, member: Member, source: BinaryIO) -> None:
        """Copy a member. Raises `DataCorrupt` when it is not what the manifest says."""
        self._file.write(self._header(member.name, member.size_bytes))
        found, left = hashlib.sha256(), member.size_bytes
        while data := source.read(CHUNK_BYTES):
            left -= len(data)
            if left < 0:
                break
            found.update(data)
            self._file.write(data)
            self._on_bytes(len(data))
        if left or found.hexdigest() != member.sha256:
            raise DataCorrupt(f"'{member.name}' is damaged: its bytes are not those that were stored.")
        self._file.write(_padding(member.size_bytes))

    def finish(self) -> None:
        """Write what proves that nothing is missing."""
        self._put(SEAL, digest(self._manifest).encode())
        self._file.write(END)

    def _put(self, name: str, content: bytes) -> None:
        self._file.write(self._header(name, len(content)) + content + _padding(len(content)))

    def _header(self, name: str, size_bytes: int) -> bytes:
        header = tarfile.TarInfo(name)
        header.size, header.mode, header.mtime = size_bytes, 0o600, self._modified_at
        return header.tobuf(tarfile.GNU_FORMAT)


def read_heading(path: Path) -> Heading:
    """What a backup says of itself; nothing else is read or checked. Raises `DataCorrupt` or `InvalidInput`."""
    with path.open("rb") as file:
        return decode_heading(_Reader(file, lambda _: None).manifest())


def read_manifest(path: Path) -> Manifest:
    """The manifest of a file that has the length it must have. Raises `DataCorrupt` or `InvalidInput`."""
    with path.open("rb") as file:
        return _checked_manifest(_Reader(file, lambda _: None).manifest(), path)


def verify_archive(path: Path, on_bytes: OnBytes) -> Manifest:
    """Read a backup to its last byte; the manifest if all of it is as it was written, else `DataCorrupt`."""
    return unpack_archive(path, lambda _: nullcontext(_Nowhere()), on_bytes)


def unpack_archive(
    path: Path, open_sink: Callable[[Member], AbstractContextManager[Sink]], on_bytes: OnBytes
) -> Manifest:
    """As `verify_archive`, while every member's bytes go to what `open_sink` opens for it."""
    with path.open("rb") as file:
        reader = _Reader(file, on_bytes)
        content = reader.manifest()
        manifest = _checked_manifest(content, path)
        for member in manifest.members:
            with open_sink(member) as sink:
                reader.member(member, sink)
        reader.end(content)
    return manifest


def archive_bytes(manifest: Manifest) -> int:
    """The length of the file of a backup with this manifest."""
    return _file_bytes(manifest, len(encode(manifest)))


class _Reader:
    """Reads what `ArchiveWriter` wrote, and nothing else."""

    def __init__(self, file: BinaryIO, on_bytes: OnBytes) -> None:
        self._file = file
        self._on_bytes = on_bytes

    def manifest(self) -> bytes:
        return self._small(MANIFEST, MAX_MANIFEST_BYTES)

    def member(self, member: Member, sink: Sink) -> None:
        if self._header(member.name) != member.size_bytes:
            raise DataCorrupt(f"The backup is damaged: '{member.name}' has another size than its manifest says.")
        found, left = hashlib.sha256(), member.size_bytes
        while left:
            data = self._exactly(min(left, CHUNK_BYTES))
            left -= len(data)
            found.update(data)
            sink.write(data)
            self._on_bytes(len(data))
        self._require_padding(member.size_bytes)
        if found.hexdigest() != member.sha256:
            raise DataCorrupt(f"The backup is damaged: '{member.name}' is not what was put in.")

    def end(self, manifest: bytes) -> None:
        if self._small(SEAL, 64) != digest(manifest).encode():
            raise DataCorrupt("The backup is damaged: its manifest was changed.")
        if self._file.read(len(END) + 1) != END:
            raise DataCorrupt("The backup is damaged: something follows its end.")

    def _small(self, name: str, limit_bytes: int) -> bytes:
        size = self._header(name)
        if size > limit_bytes:
            raise DataCorrupt(f"The backup is damaged: '{name}' is larger than {limit_bytes} bytes.")
        content = self._exactly(size)
        self._require_padding(size)
        return content

    def _header(self, name: str) -> int:
        """The size of the next member, which must be a regular file of this name."""
        block = self._exactly(BLOCK_BYTES)
        if block[CHECKSUM] != _checksum(block):  # by the letter: tar programs read it in several ways
            raise DataCorrupt("The backup is damaged, or is no backup: the head of one of its files is not right.")
        try:
            header = tarfile.TarInfo.frombuf(block, "ascii", "strict")
        except (tarfile.HeaderError, UnicodeError) as error:
            raise DataCorrupt(f"The backup is damaged, or is no backup: {error}.") from error
        if header.name != name or header.type != tarfile.REGTYPE or header.size < 0:
            raise DataCorrupt(f"The backup is damaged: it has '{header.name[:200]}' in the place of '{name}'.")
        return header.size

    def _exactly(self, count: int) -> bytes:
        data = self._file.read(count)
        if len(data) != count:
            raise DataCorrupt("The backup is damaged, or is no backup: it ends too early.")
        return data

    def _require_padding(self, size_bytes: int) -> None:
        padding = _padding(size_bytes)
        if self._exactly(len(padding)) != padding:
            raise DataCorrupt("The backup is damaged: there are bytes between its files.")


def _checked_manifest(content: bytes, path: Path) -> Manifest:
    manifest = decode(content)
    expected, found = _file_bytes(manifest, len(content)), path.stat().st_size
    if found != expected:
        what = "it was cut short" if found < expected else "something was added"
        raise DataCorrupt(f"The backup is damaged: it has {found} bytes instead of {expected}; {what}.")
    return manifest


def _file_bytes(manifest: Manifest, manifest_bytes: int) -> int:
    sizes = [manifest_bytes, *(member.size_bytes for member in manifest.members), 64]
    return sum(BLOCK_BYTES + size + len(_padding(size)) for size in sizes) + len(END)


def _checksum(header: bytes) -> bytes:
    """POSIX.1-1988, ustar: the sum of all bytes of the header, its own field counted as blanks."""
    total = sum(header) - sum(header[CHECKSUM]) + 8 * ord(" ")
    return b"%06o\0 " % total


def _padding(size_bytes: int) -> bytes:
    return bytes(-size_bytes % BLOCK_BYTES)
