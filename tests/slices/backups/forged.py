"""Backups as they must not be: damaged in every way, or made with correct hashes by somebody who means harm."""

import hashlib
import io
import os
import sqlite3
import tarfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import msgspec

from perplex_mono.backups.archive import ArchiveWriter, read_manifest
from perplex_mono.backups.manifest import Manifest, Member


def change_byte(position: Callable[[bytes], int]) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        content = bytearray(path.read_bytes())
        content[position(bytes(content))] ^= 1
        path.write_bytes(content)

    return change


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size * 2 // 3)


def cut_in_the_first_block(path: Path) -> None:
    os.truncate(path, 100)


def add_to_the_end(path: Path) -> None:
    path.write_bytes(path.read_bytes() + bytes(512))


def add_a_member(path: Path) -> None:
    with tarfile.open(path, "a") as tar:
        header = tarfile.TarInfo("blobs/" + "0" * 64)
        header.size = 3
        tar.addfile(header, io.BytesIO(b"new"))


def become_a_text(path: Path) -> None:
    path.write_bytes(b"This is no backup. " * 1000)


def become_nothing(path: Path) -> None:
    path.write_bytes(b"")


HARMS = {
    "a byte of the manifest": change_byte(lambda content: content.index(b"created_at") + 20),
    "a byte of a hash in the manifest": change_byte(lambda content: content.index(b'"sha256":"') + 12),
    "a byte of the database": change_byte(lambda content: content.index(b"SQLite format 3") + 5000),
    "a byte of an original": change_byte(lambda content: content.rindex(b"waded here")),
    "a byte of a model": change_byte(lambda content: content.index(b"weights")),
    "a byte of a header": change_byte(lambda content: content.index(b"perplex.db\0") + 110),
    "a byte between members": change_byte(lambda content: content.index(b"weights") + 100),
    "a byte of the seal": change_byte(lambda content: content.rindex(b"manifest.sha256") + 515),
    "a byte of the end": change_byte(lambda content: len(content) - 1),
    "cut short": cut,
    "cut in the first block": cut_in_the_first_block,
    "more at the end": add_to_the_end,
    "a member more": add_a_member,
    "a text": become_a_text,
    "empty": become_nothing,
}


def members_of(path: Path) -> Iterator[tuple[Member, bytes]]:
    with tarfile.open(path) as tar:
        for member in read_manifest(path).members:
            file = tar.extractfile(member.name)
            assert file is not None
            yield member, file.read()


def forge(source: Path, target: Path, change: Callable[[Manifest], Manifest], **added: bytes) -> None:
    """A backup with correct hashes whose manifest was changed, and `added` members at its end."""
    found = list(members_of(source))
    found += [(Member(name, len(data), hashlib.sha256(data).hexdigest()), data) for name, data in added.items()]
    write(target, change(read_manifest(source)), found)


def write(target: Path, manifest: Manifest, found: list[tuple[Member, bytes]]) -> None:
    manifest = msgspec.structs.replace(manifest, members=[member for member, _ in found])
    with target.open("wb") as file:
        writer = ArchiveWriter(file, manifest, lambda _: None)
        for member, data in found:
            writer.add(member, io.BytesIO(data))
        writer.finish()


def with_database(source: Path, target: Path, statement: str) -> None:
    """A backup with correct hashes in whose database a statement was run."""
    found = list(members_of(source))
    path = target.with_suffix(".db")
    path.write_bytes(found[0][1])
    with closing(sqlite3.connect(path)) as database, database:
        database.execute(statement)
    data = path.read_bytes()
    found[0] = Member("perplex.db", len(data), hashlib.sha256(data).hexdigest()), data
    write(target, read_manifest(source), found)
