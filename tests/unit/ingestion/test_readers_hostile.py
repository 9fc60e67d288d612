"""Hostile and broken containers end in a `DocumentFailure` with the right word, never in anything else."""

import contextlib
import random
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from perplex_mono.errors import DocumentFailure
from perplex_mono.ingestion.readers import archive
from perplex_mono.ingestion.readers.contract import ReaderLimits
from tests.unit.ingestion import reader_files as make

PARAGRAPH = "<w:p><w:r><w:t>light</w:t></w:r></w:p>"
ENTITIES = '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;"><!ENTITY c SYSTEM "file:///etc/passwd">]>'
Maker = Callable[[Path], Path]
MAKERS: dict[str, Maker] = {
    "a.docx": make.word_file,
    "a.pptx": make.slides_file,
    "a.xlsx": lambda path: make.workbook_file(path, [("S", make.TABLE)]),
    "a.xls": lambda path: make.old_workbook_file(path, "S", make.TABLE),
    "a.odt": lambda path: make.open_document_file(path, "text", "<text:p>light</text:p>"),
    "a.epub": lambda path: make.book_file(path, [("One", "<p>light</p>")]),
    "a.eml": lambda path: make.mail_file(path, attachments=[("a", b"one")]),
}
MAIN_PARTS = {
    "a.docx": "word/document.xml",
    "a.pptx": "ppt/slides/slide1.xml",
    "a.xlsx": "xl/worksheets/sheet1.xml",
    "a.odt": "content.xml",
}


def failure(path: Path, limits: ReaderLimits | None = None) -> DocumentFailure:
    with pytest.raises(DocumentFailure) as caught:
        make.read_file(path, limits=limits)
    return caught.value


@pytest.mark.parametrize("name", MAKERS)
def test_the_makers_make_readable_files(tmp_path: Path, name: str) -> None:
    assert make.pages_of(MAKERS[name](tmp_path / name))


@pytest.mark.parametrize("name", MAIN_PARTS)
def test_entity_declarations_are_refused(tmp_path: Path, name: str) -> None:
    path = MAKERS[name](tmp_path / name)
    with archive.open_package(str(path), ReaderLimits(), "file") as package:
        root = package.read(MAIN_PARTS[name]).lstrip(b"\xef\xbb\xbf").split(b"?>\n", 1)[-1][:12]
    make.rewrite_member(path, MAIN_PARTS[name], root, ENTITIES.encode() + root)
    error = failure(path)
    assert error.code == "corrupt"
    assert "corrupt" in str(error)


def test_entities_hidden_by_utf16_are_refused(tmp_path: Path) -> None:
    document = f"{ENTITIES}<w:document {make.W_NAMESPACE}><w:body>{PARAGRAPH}</w:body></w:document>"
    members: list[tuple[str, str | bytes]] = [
        ("[Content_Types].xml", make.DOCX_TYPES),
        ("word/document.xml", document.encode("utf-16")),
    ]
    assert failure(make.zip_file(tmp_path / "a.docx", members)).code == "corrupt"


def test_entities_of_a_book_are_not_resolved(tmp_path: Path) -> None:
    path = make.book_file(tmp_path / "a.epub", [("One", "<p>x &c; y</p>")])
    make.rewrite_member(path, "OPS/c0.xhtml", b"<html>", ENTITIES.encode() + b"<html>")
    text = make.pages_of(path)[0].text
    assert "root:" not in text
    assert "aaaa" not in text.replace("aaaaaaaaaa", "")


def test_a_bomb_is_seen_before_it_is_unpacked(tmp_path: Path) -> None:
    bomb = make.raw_word_file(tmp_path / "a.docx", f"<w:p><w:r><w:t>{'a' * 40_000_000}</w:t></w:r></w:p>")
    assert bomb.stat().st_size < 200_000
    error = failure(bomb)
    assert error.code == "too_large"
    assert "100 times" in str(error)


def test_the_unpacked_size_is_limited(tmp_path: Path) -> None:
    path = make.raw_word_file(tmp_path / "a.docx", PARAGRAPH * 100)
    assert failure(path, ReaderLimits(max_expanded_bytes=1_000)).code == "too_large"
    assert make.pages_of(path, limits=ReaderLimits(max_expanded_bytes=10_000))


def test_thousands_of_members_are_refused(tmp_path: Path) -> None:
    members = [(f"x{number}", "") for number in range(archive.MAX_ENTRIES + 1)]
    assert failure(make.raw_word_file(tmp_path / "a.docx", PARAGRAPH, members)).code == "too_large"


def test_a_member_that_lies_about_its_size_is_never_unpacked_further(tmp_path: Path) -> None:
    path = make.raw_word_file(tmp_path / "a.docx", PARAGRAPH * 1_000)
    data = bytearray(path.read_bytes())
    entry = data.index(b"word/document.xml", data.index(b"PK\x01\x02"))
    struct.pack_into("<I", data, entry - 46 + 24, 300)
    path.write_bytes(bytes(data))
    assert failure(path).code == "corrupt"


@pytest.mark.parametrize("tag", ["tbl><w:tr><w:tc", "sdt><w:sdtContent", "p", "customXml"])
def test_nesting_without_end_is_corrupt(tmp_path: Path, tag: str) -> None:
    closing = "</w:" + "></w:".join(reversed(tag.split("><w:"))) + ">"
    path = make.raw_word_file(tmp_path / "a.docx", f"<w:{tag}>" * 50_000 + PARAGRAPH + closing * 50_000)
    assert failure(path).code == "corrupt"


def test_deep_but_possible_nesting_is_read(tmp_path: Path) -> None:
    path = make.raw_word_file(
        tmp_path / "a.docx", "<w:tbl><w:tr><w:tc>" * 200 + PARAGRAPH + "</w:tc></w:tr></w:tbl>" * 200
    )
    assert make.pages_of(path)[0].text == "light"


def test_encrypted_containers_say_so(tmp_path: Path) -> None:
    manifest = "<manifest><file-entry><encryption-data/></file-entry></manifest>"
    text = make.open_document_file(tmp_path / "a.odt", "text", "", [("META-INF/manifest.xml", manifest)])
    assert failure(text).code == "encrypted"
    locked = make.raw_word_file(tmp_path / "a.docx", PARAGRAPH)
    data = bytearray(locked.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        position = data.find(signature)
        while position >= 0:
            data[position + offset] |= 1
            position = data.find(signature, position + 4)
    locked.write_bytes(bytes(data))
    assert failure(locked).code in ("encrypted", "corrupt")


def test_an_encrypted_old_workbook_says_so(tmp_path: Path) -> None:
    path = make.old_workbook_file(tmp_path / "a.xls", "S", make.TABLE)
    data = path.read_bytes()
    start = data.index(b"\x09\x08\x10\x00\x00\x06\x05\x00")  # BOF of the workbook globals, 16 bytes of data
    write_access = data.index(b"\xe1\x00\x02\x00", start)
    filepass = b"\x2f\x00\x02\x00"  # [MS-XLS] 2.4.117, in place of INTERFACEHDR, which has the same length
    path.write_bytes(data[:write_access] + filepass + data[write_access + 4 :])
    assert failure(path).code == "encrypted"


@pytest.mark.parametrize("name", [name for name in MAKERS if name != "a.eml"])
def test_truncated_files_are_corrupt(tmp_path: Path, name: str) -> None:
    path = MAKERS[name](tmp_path / name)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    error = failure(path)
    assert error.code == "corrupt"
    assert "corrupt" in str(error)


@pytest.mark.parametrize("name", MAKERS)
def test_mutated_files_end_in_pages_or_a_failure(tmp_path: Path, name: str) -> None:
    original = MAKERS[name](tmp_path / name).read_bytes()
    chance = random.Random(name)
    for _ in range(40):
        data = bytearray(original)
        for _ in range(chance.randint(1, 12)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        path = make.text_file(tmp_path / name, bytes(data))
        with contextlib.suppress(DocumentFailure):
            make.pages_of(path)


@pytest.mark.parametrize("name", MAIN_PARTS)
def test_mutated_parts_end_in_pages_or_a_failure(tmp_path: Path, name: str) -> None:
    path = MAKERS[name](tmp_path / name)
    with archive.open_package(str(path), ReaderLimits(), "file") as package:
        members = [(member, package.read(member)) for member in sorted(package.names)]
    chance = random.Random(name)
    for _ in range(40):
        hit = chance.randrange(len(members))
        mutated = [
            (member, _mutated(data, chance) if index == hit else data) for index, (member, data) in enumerate(members)
        ]
        with contextlib.suppress(DocumentFailure):
            make.pages_of(make.zip_file(path, mutated))


def _mutated(data: bytes, chance: random.Random) -> bytes:
    """Text moved, doubled or cut: still XML at times, but not what the format allows."""
    start, end = sorted(chance.randrange(len(data) + 1) for _ in range(2))
    return chance.choice([data[:start] + data[end:], data[:end] + data[start:], data[:start] + b"9" * 3 + data[end:]])


def test_the_strict_dialect_says_so_instead_of_looking_blank(tmp_path: Path) -> None:
    path = make.raw_word_file(tmp_path / "a.docx", PARAGRAPH)
    usual = b"http://schemas.openxmlformats.org/wordprocessingml/2006/main"
    make.rewrite_member(path, "word/document.xml", usual, b"http://purl.oclc.org/ooxml/wordprocessingml/main")
    error = failure(path)
    assert error.code == "unsupported"
    assert "Strict" in str(error)


def test_macros_and_external_references_are_ignored(tmp_path: Path) -> None:
    relation = "http://schemas.openxmlformats.org/officeDocument/2006/relationships/header"
    relations = (
        f'<Relationships><Relationship Type="{relation}" Target="file:///etc/passwd" TargetMode="External"/>'
        f'<Relationship Type="{relation}" Target="../../../../etc/passwd"/></Relationships>'
    )
    parts = [("word/_rels/document.xml.rels", relations), ("word/vbaProject.bin", "Sub AutoOpen()")]
    (page,) = make.pages_of(make.raw_word_file(tmp_path / "a.docm", PARAGRAPH, parts))
    assert page.text == "light"
