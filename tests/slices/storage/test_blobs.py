"""Original files: kept whole under their hash, or gone; never past a limit or into the disk's reserve."""

import hashlib
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import pytest

from perplex_mono.errors import StorageFull, TooLarge
from perplex_mono.storage.blobs import BUFFER_BYTES, HEAD_BYTES, BlobStore, read_chunks


class DiskUsage(NamedTuple):
    """What `shutil.disk_usage` gives."""

    total: int
    used: int
    free: int


LARGE = bytes(range(256)) * (BUFFER_BYTES // 100)


@pytest.fixture
def store(tmp_path: Path) -> BlobStore:
    opened = BlobStore(tmp_path / "blobs", reserve_bytes=0, reserve_fraction=0.0)
    opened.open()
    return opened


def incoming(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "blobs" / "incoming").iterdir())


async def pieces(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


async def test_a_kept_file_lies_under_its_hash(store: BlobStore, tmp_path: Path) -> None:
    blob = store.receive(10 * len(LARGE))
    for start in range(0, len(LARGE), 70_001):
        await blob.write(LARGE[start : start + 70_001])
    await blob.finish()
    blob.keep()
    blob.discard()
    digest = hashlib.sha256(LARGE).hexdigest()
    assert (blob.sha256, blob.size_bytes) == (digest, len(LARGE))
    assert store.path(digest).read_bytes() == LARGE
    assert blob.head == LARGE[:HEAD_BYTES]
    assert incoming(tmp_path) == []


async def test_nothing_is_visible_before_it_is_kept(store: BlobStore) -> None:
    blob = await store.receive_all(pieces(b"one", b"two"), 100)
    assert not store.exists(blob.sha256)
    blob.keep()
    assert store.exists(blob.sha256)


async def test_keeping_the_same_bytes_twice_is_one_file(store: BlobStore, tmp_path: Path) -> None:
    for _ in range(2):
        blob = await store.receive_all(pieces(b"same"), 100)
        blob.keep()
    files = [path for path in (tmp_path / "blobs").iterdir() if path.is_file()]
    assert [path.read_bytes() for path in files] == [b"same"]


async def test_a_discarded_file_leaves_nothing(store: BlobStore, tmp_path: Path) -> None:
    blob = store.receive(100)
    await blob.write(b"never mind")
    assert len(incoming(tmp_path)) == 1
    blob.discard()
    assert incoming(tmp_path) == []


async def test_the_limit_holds_to_the_byte(store: BlobStore, tmp_path: Path) -> None:
    assert (await store.receive_all(pieces(b"12345", b"67890"), 10)).size_bytes == 10
    with pytest.raises(TooLarge, match=r"10 bytes .*max_upload_bytes"):
        await store.receive_all(pieces(b"12345", b"67890", b"!"), 10)
    assert len(incoming(tmp_path)) == 1, "only the one that is not discarded yet"


async def test_a_stream_that_breaks_leaves_nothing(store: BlobStore, tmp_path: Path) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"some"
        raise ConnectionError("the client left")

    with pytest.raises(ConnectionError):
        await store.receive_all(broken(), 100)
    assert incoming(tmp_path) == []


async def test_leftovers_are_swept_at_the_next_start(store: BlobStore, tmp_path: Path) -> None:
    kept = await store.receive_all(pieces(b"kept"), 100)
    kept.keep()
    await store.receive(100).write(b"half")
    (store.working_directory() / "attachment").write_bytes(b"x")
    assert len(incoming(tmp_path)) == 2
    BlobStore(tmp_path / "blobs", reserve_bytes=0, reserve_fraction=0.0).open()
    assert incoming(tmp_path) == []
    assert store.exists(kept.sha256)


@pytest.mark.parametrize(
    ("reserve_bytes", "reserve_fraction", "free", "is_full"),
    [
        (600, 0.0, 599, True),
        (600, 0.0, 600, False),
        (0, 0.1, 999, True),
        (600, 0.1, 1000, False),
        (9000, 0, 5000, False),
    ],
)
async def test_below_the_reserve_nothing_is_taken_and_reading_goes_on(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    reserve_bytes: int,
    reserve_fraction: float,
    free: int,
    is_full: bool,
) -> None:
    """The larger of both reserves counts, on a small disk half of it at most. Only the disk's figures are made up."""
    store = BlobStore(tmp_path / "blobs", reserve_bytes=reserve_bytes, reserve_fraction=reserve_fraction)
    store.open()
    kept = await store.receive_all(pieces(b"kept"), 100)
    kept.keep()
    monkeypatch.setattr(shutil, "disk_usage", lambda _: DiskUsage(10_000, 10_000 - free, free))
    if is_full:
        with pytest.raises(StorageFull, match=r"reserve of .*disk_reserve_bytes"):
            store.receive(100)
    else:
        store.receive(100).discard()
    assert store.path(kept.sha256).read_bytes() == b"kept"
    assert incoming(tmp_path) == []


async def test_deleting_is_harmless_twice(store: BlobStore) -> None:
    blob = await store.receive_all(pieces(b"bye"), 100)
    blob.keep()
    store.delete(blob.sha256)
    store.delete(blob.sha256)
    assert not store.exists(blob.sha256)


async def test_files_are_read_in_chunks(store: BlobStore) -> None:
    blob = await store.receive_all(pieces(LARGE), len(LARGE))
    blob.keep()
    chunks = [chunk async for chunk in read_chunks(store.path(blob.sha256), 100_000)]
    assert b"".join(chunks) == LARGE
    assert max(map(len, chunks)) == 100_000
