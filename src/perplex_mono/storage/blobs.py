"""Original files, one per content hash: written beside, fsynced, renamed into place in a transaction."""

import asyncio
import hashlib
import os
import shutil
import threading
from collections.abc import AsyncIterable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from loguru import logger

from perplex_mono.errors import TooLarge
from perplex_mono.storage.disk_full import DiskReserve, disk_full_told
from perplex_mono.storage.identity import new_id
from perplex_mono.storage.lance_files import fsync_folder

BUFFER_BYTES = 1024 * 1024
HEAD_BYTES = 8192


class IncomingBlob:
    """Bytes on their way in. `keep` makes them permanent, `discard` removes them; one of the two always happens."""

    def __init__(self, path: Path, directory: Path, limit_bytes: int) -> None:
        self._path = path
        self._directory = directory
        self._limit_bytes = limit_bytes
        self._file: BinaryIO = path.open("xb")
        self._hash = hashlib.sha256()
        self._buffer = bytearray()
        self.head = b""
        self.size_bytes = 0
        self.sha256 = ""

    async def write(self, data: bytes) -> None:
        """Append; disk and hash work happens on a thread, a megabyte at a time. Raises `TooLarge` past the limit."""
        self.size_bytes += len(data)
        if self.size_bytes > self._limit_bytes:
            raise TooLarge(f"The file is larger than the limit of {self._limit_bytes} bytes (limits.max_upload_bytes).")
        if len(self.head) < HEAD_BYTES:
            self.head += data[: HEAD_BYTES - len(self.head)]
        self._buffer += data
        if len(self._buffer) >= BUFFER_BYTES:
            full, self._buffer = self._buffer, bytearray()
            await asyncio.to_thread(self._append, full)

    async def finish(self) -> None:
        """Flush and fsync; `sha256` is known from here on."""
        await asyncio.to_thread(self._finish)

    def keep(self) -> None:
        """Rename into place and fsync the folder. Quick; call it inside the transaction that refers to the blob."""
        keep_all([self])

    def move_into_place(self) -> Path:
        """Rename into place; permanent once the folder, which is returned, is synced."""
        self._path.replace(self._directory / self.sha256)
        return self._directory

    def discard(self) -> None:
        """Remove the temporary file; harmless after `keep`."""
        with suppress(OSError):
            self._file.close()
        self._path.unlink(missing_ok=True)

    def _append(self, data: bytearray) -> None:
        self._hash.update(data)
        with disk_full_told():
            self._file.write(data)

    def _finish(self) -> None:
        self._append(self._buffer)
        self._buffer = bytearray()
        with disk_full_told():
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
        self.sha256 = self._hash.hexdigest()


class BlobStore:
    """`blobs/<sha256>`. References are rows of the database; `delete` is for unreferenced ones."""

    def __init__(self, directory: Path, *, reserve_bytes: int, reserve_fraction: float) -> None:
        self._directory = directory
        self._incoming = directory / "incoming"
        self._held = directory / "held"
        self._holding = threading.Lock()
        self._holders = 0
        self.disk_reserve = DiskReserve(reserve_bytes, reserve_fraction)

    def open(self) -> None:
        """Make the folders and sweep what an earlier process left half-written."""
        self._incoming.mkdir(parents=True, exist_ok=True, mode=0o700)
        for leftover in self._incoming.iterdir():
            logger.info("blob.leftover_removed", file=leftover.name)
            if leftover.is_dir():
                shutil.rmtree(leftover, ignore_errors=True)
            else:
                leftover.unlink(missing_ok=True)
        shutil.rmtree(self._held, ignore_errors=True)

    def receive(self, limit_bytes: int) -> IncomingBlob:
        """Begin a new blob. Raises `StorageFull` when the disk is below its reserve."""
        self.require_space()
        with disk_full_told():
            return IncomingBlob(self._incoming / new_id(), self._directory, limit_bytes)

    async def receive_all(self, chunks: AsyncIterable[bytes], limit_bytes: int) -> IncomingBlob:
        """Receive a whole stream; the temporary file is gone if it fails."""
        blob = self.receive(limit_bytes)
        try:
            async for chunk in chunks:
                await blob.write(chunk)
            await blob.finish()
        except BaseException:
            blob.discard()
            raise
        return blob

    def working_directory(self) -> Path:
        """A fresh private folder for files that a reader child hands over; swept at the next start."""
        directory = self._incoming / new_id()
        directory.mkdir(mode=0o700)
        return directory

    def path(self, sha256: str) -> Path:
        """Where the bytes with this hash are."""
        return self._directory / sha256

    def exists(self, sha256: str) -> bool:
        """Whether the bytes are stored."""
        return self.path(sha256).is_file()

    def stored(self) -> set[str]:
        """The hashes of all stored bytes."""
        if not self._directory.is_dir():
            return set()
        return {path.name for path in self._directory.iterdir() if path.is_file()}

    def stored_bytes(self) -> int:
        """The size of all stored bytes, without what is deleted while they are counted."""
        total = 0
        for sha256 in self.stored():
            with suppress(FileNotFoundError):
                total += self.path(sha256).stat().st_size
        return total

    def delete(self, sha256: str) -> None:
        """Remove the bytes; harmless when they are gone. While they are held they only go out of the way."""
        with self._holding:
            if not self._holders:
                self.path(sha256).unlink(missing_ok=True)
                return
            self._held.mkdir(exist_ok=True, mode=0o700)
            with suppress(FileNotFoundError):
                self.path(sha256).rename(self._held / sha256)

    def hold(self) -> None:
        """From now on whatever is deleted can still be read with `open_held`, until `release`.

        Call it inside a write transaction: deletions happen in such, so none is half done then. What a killed process
        left held goes at the next `open`.
        """
        with self._holding:
            self._holders += 1

    def release(self) -> None:
        """End one `hold`; with the last one, what was deleted meanwhile goes for good. Call it on a thread."""
        with self._holding:
            self._holders -= 1
            is_last = not self._holders and self._held.exists()
            dropped = self._incoming / new_id()  # which the next start sweeps, if this process dies meanwhile
            if is_last:
                self._held.rename(dropped)
        if is_last:
            shutil.rmtree(dropped, ignore_errors=True)

    def open_held(self, sha256: str) -> BinaryIO:
        """The bytes, whether or not they were deleted since `hold`. Raises `FileNotFoundError`."""
        try:
            return self.path(sha256).open("rb")
        except FileNotFoundError:
            return (self._held / sha256).open("rb")

    def put_aside(self, sha256: str) -> Path:
        """Move bytes that nothing refers to out of the way; the database may be older than they are."""
        aside = self._directory / "orphaned"
        aside.mkdir(exist_ok=True, mode=0o700)
        return self.path(sha256).rename(aside / sha256)

    def keep_free(self, *, reserve_bytes: int, reserve_fraction: float) -> None:
        """Keep so much of the disk free from now on."""
        self.disk_reserve.keep(reserve_bytes, reserve_fraction)

    def reserve(self) -> int:
        """The bytes that stay free on this disk."""
        return self.disk_reserve.bytes_of(shutil.disk_usage(self._directory).total)

    def require_space(self) -> None:
        """Raise `StorageFull` below the reserve: the larger of so many bytes and such a share of the disk."""
        self.disk_reserve.require(self._directory)


def keep_all(blobs: Iterable[IncomingBlob]) -> None:
    """Make these permanent with one fsync; many are not quick, so call it on a thread then."""
    for directory in {blob.move_into_place() for blob in blobs}:
        fsync_folder(directory)


async def read_chunks(path: Path, chunk_bytes: int = BUFFER_BYTES) -> AsyncIterable[bytes]:
    """The file's bytes in chunks, read on a thread."""
    file = await asyncio.to_thread(path.open, "rb")
    try:
        while chunk := await asyncio.to_thread(file.read, chunk_bytes):
            yield chunk
    finally:
        file.close()
