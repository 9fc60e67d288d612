"""The file of a backup at the edges of its format."""

import io
import tarfile
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perplex_mono.backups.archive import ArchiveWriter, verify_archive
from perplex_mono.backups.manifest import Counts, Manifest, Member, digest
from perplex_mono.errors import DataCorrupt, InvalidInput


def manifest_of(*members: Member) -> Manifest:
    return Manifest(
        format_version=1,
        product_version="1.0",
        backup_id="20260101T000000Z-00000000",
        operation_id="o",
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
        schema_revision="0005",
        includes_secrets=False,
        is_scheduled=False,
        counts=Counts(1, 1, 1),
        index_models=[],
        members=list(members),
    )


def member_of(name: str, content: bytes) -> Member:
    return Member(name, len(content), digest(content))


def written(contents: dict[str, bytes]) -> bytes:
    members = [member_of(name, content) for name, content in contents.items()]
    file = io.BytesIO()
    writer = ArchiveWriter(file, manifest_of(*members), lambda _: None)
    for member in members:
        writer.add(member, io.BytesIO(contents[member.name]))
    writer.finish()
    return file.getvalue()


SOUND = written({"perplex.db": b"d" * 1000, f"blobs/{'0' * 64}": b"", "models/a/b.safetensors": b"m" * 512})


def verify(path: Path, content: bytes) -> Manifest:
    path.write_bytes(content)
    return verify_archive(path, lambda _: None)


def test_what_was_written_is_read(tmp_path: Path) -> None:
    assert [member.size_bytes for member in verify(tmp_path / "a.tar", SOUND).members] == [1000, 0, 512]


def test_a_member_may_be_larger_than_eight_gib() -> None:
    """Where the octal digits of a header end."""
    header = ArchiveWriter(io.BytesIO(), manifest_of(), lambda _: None)._header("perplex.db", 9 * 2**30)
    assert len(header) == 512
    assert tarfile.TarInfo.frombuf(header, "ascii", "strict").size == 9 * 2**30


def test_any_byte_that_is_turned_is_found(tmp_path: Path) -> None:
    for position in range(len(SOUND)):
        content = bytearray(SOUND)
        content[position] ^= 1 << position % 8
        with pytest.raises((DataCorrupt, InvalidInput)):  # the number of the format may have become a newer one
            verify(tmp_path / "turned.tar", bytes(content))


@given(length=st.integers(0, len(SOUND) - 1))
def test_any_cut_is_found(tmp_path_factory: pytest.TempPathFactory, length: int) -> None:
    with pytest.raises(DataCorrupt):
        verify(tmp_path_factory.getbasetemp() / "cut.tar", SOUND[:length])


def test_a_source_that_is_not_what_it_was_is_told() -> None:
    member = member_of("perplex.db", b"as it was")
    writer = ArchiveWriter(io.BytesIO(), manifest_of(member), lambda _: None)
    for content in (b"as it is.", b"as it was, and more", b"as it"):
        with pytest.raises(DataCorrupt, match="not those that were stored"):
            writer.add(member, io.BytesIO(content))
