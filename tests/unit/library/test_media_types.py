"""Content decides what a file is; its name only breaks ties between kinds of plain text."""

from pathlib import Path

import pytest

from perplex_mono.errors import DocumentFailure
from perplex_mono.library import media_types, signatures
from tests.unit.ingestion import reader_files as make

OLE_HEAD = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"


def detect(path: Path, content: bytes | str) -> str:
    make.text_file(path, content)
    return media_types.detect(str(path), path.name)


def failure(path: Path, content: bytes | str) -> DocumentFailure:
    with pytest.raises(DocumentFailure) as caught:
        detect(path, content)
    return caught.value


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.txt", "Just some words.\n", "text/plain"),
        ("README", "Just some words.\n", "text/plain"),
        ("a.md", "Just some words.\n", "text/markdown"),
        ("README", "# Title\n\nSee [this](http://example.org).\n", "text/markdown"),
        ("a.csv", "one,two\n", "text/csv"),
        ("a.tsv", "one\ttwo\n", "text/tab-separated-values"),
        ("a.log", "a,b,c\n" * 9, "text/csv"),
        ("a.json", '{"a": 1}', "application/json"),
        ("a.txt", '{"a": 1}', "application/json"),
        ("a.jsonl", '{"a": 1}\n', "application/x-ndjson"),
        ("a.txt", '{"a": 1}\n{"a": 2}\n', "application/x-ndjson"),
        ("a.json", "not json at all", "text/plain"),
        ("a.md", "[1] is a footnote", "text/markdown"),
        ("a.html", "<p>Hello</p>", "text/html"),
        ("a.txt", "<!-- x --><!DOCTYPE html><p>Hello</p>", "text/html"),
        ("a.html", "no tag here", "text/plain"),
        ("a.eml", "Subject: hi\n\nbody", "message/rfc822"),
        ("a.txt", "From: a@b\nTo: c@d\nDate: now\n\nbody", "message/rfc822"),
        ("a.txt", "From: Monday\nTo: Friday\n\nno mail", "text/plain"),
        ("a.py", "print('hi')\n", "text/plain"),
        ("a.xml", "<?xml version='1.0'?><note>hi</note>", "text/plain"),
        ("a.txt", "\ufeffHallo".encode("utf-16"), "text/plain"),
        ("a.txt", "Hallo Welt".encode("utf-16-be"), "text/plain"),
        ("a.txt", b"some\0text\0with zeros " * 9, "text/plain"),
        ("a.txt", b"caf\xe9 cr\xe8me", "text/plain"),
    ],
)
def test_kinds_of_text(tmp_path: Path, name: str, content: bytes | str, expected: str) -> None:
    assert detect(tmp_path / name, content) == expected
    assert expected in media_types.SUPPORTED


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"%PDF-1.7\n", "application/pdf"),
        (b"\x89PNG\r\n\x1a\n", "image/png"),
        (b"\xff\xd8\xff\xe0", "image/jpeg"),
        (b"II*\0", "image/tiff"),
        (b"RIFF\0\0\0\0WEBP", "image/webp"),
        (b"BM\x10\0\0\0\0\0\0\0", "image/bmp"),
        (b"GIF89a", "image/gif"),
    ],
)
def test_a_lying_name_does_not_matter(tmp_path: Path, content: bytes, expected: str) -> None:
    assert detect(tmp_path / "invoice.txt", content) == expected


def test_polyglots_are_what_their_first_bytes_say(tmp_path: Path) -> None:
    assert detect(tmp_path / "a.pdf", b"\x89PNG\r\n\x1a\n%PDF-1.4 1 0 obj") == "image/png"
    assert detect(tmp_path / "a.txt", b"\0\1junk\n%PDF-1.4\n1 0 obj\n") == "application/pdf"
    assert detect(tmp_path / "a.txt", b"A PDF begins with\n%PDF-1.4\nand goes on") == "text/plain"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"<?xml version='1.0'?><svg xmlns='x'/>", "SVG"),
        (b"MZ\x90\0\0\0\0\0", "program"),
        (b"\x7fELF", "program"),
        (b"\x1f\x8b\x08", "archive"),
        (b"7z\xbc\xaf\x27\x1c", "archive"),
        (b"Rar!\x1a\x07\0", "archive"),
        (b"x" * 257 + b"ustar", "archive"),
        (b"{\\rtf1 hello}", "RTF"),
        (b"\0\0\0\x18ftypmp42", "video"),
        (b"ID3\x04", "audio"),
        (b"\x01\x02\x03\x04\x05\x06" * 50, "not a known"),
        (b"\0" * 500, "not a known"),
    ],
)
def test_what_is_not_read_is_named_with_advice(tmp_path: Path, content: bytes, said: str) -> None:
    error = failure(tmp_path / "a.docx", content)
    assert error.code == "unsupported"
    assert said in str(error)


def test_zip_containers_by_their_members(tmp_path: Path) -> None:
    files = {
        media_types.DOCX: make.word_file(tmp_path / "a.bin"),
        media_types.PPTX: make.slides_file(tmp_path / "b.bin"),
        media_types.XLSX: make.workbook_file(tmp_path / "c.bin", [("S", [("a",)])]),
        media_types.ODT: make.open_document_file(tmp_path / "d.bin", "text", ""),
        media_types.EPUB: make.book_file(tmp_path / "e.bin", [("One", "<p>x</p>")]),
    }
    for expected, path in files.items():
        assert media_types.detect(str(path), path.name) == expected
        assert media_types.sniff(path.read_bytes()[: media_types.SNIFF_BYTES], path.name) in (expected, signatures.ZIP)


def test_an_archive_is_not_a_document(tmp_path: Path) -> None:
    archive = make.zip_file(tmp_path / "a.docx", [("readme.txt", "hello")])
    with pytest.raises(DocumentFailure, match="archive") as caught:
        media_types.detect(str(archive), archive.name)
    assert caught.value.code == "unsupported"


def test_a_binary_workbook_is_named(tmp_path: Path) -> None:
    part = "application/vnd.ms-excel.sheet.binary.macroEnabled.main"
    book = make.zip_file(
        tmp_path / "a.xlsb", [("[Content_Types].xml", f'<Types><Override ContentType="{part}"/></Types>')]
    )
    with pytest.raises(DocumentFailure, match="XLSB") as caught:
        media_types.detect(str(book), book.name)
    assert caught.value.code == "unsupported"


def test_ole_containers_by_their_streams(tmp_path: Path) -> None:
    book = make.old_workbook_file(tmp_path / "a.bin", "S", [("a",)])
    assert media_types.detect(str(book), "a.bin") == media_types.XLS
    renamed = book.read_bytes().replace("Workbook".encode("utf-16-le"), "Quillbok".encode("utf-16-le"))
    assert failure(tmp_path / "b.doc", renamed).code == "unsupported"


def test_encrypted_office_files_say_so(tmp_path: Path) -> None:
    book = make.old_workbook_file(tmp_path / "a.bin", "S", [("a",)]).read_bytes()
    name = "EncryptedPackage".encode("utf-16-le")
    entry = book.index("Workbook".encode("utf-16-le"))
    renamed = book[:entry] + name + book[entry + len(name) : entry + 64] + b"\x22\0" + book[entry + 66 :]
    assert failure(tmp_path / "b.docx", renamed).code == "encrypted"


@pytest.mark.parametrize("content", [b"PK\x03\x04" + b"x" * 99, OLE_HEAD + b"x" * 99])
def test_broken_containers_are_corrupt(tmp_path: Path, content: bytes) -> None:
    error = failure(tmp_path / "a.docx", content)
    assert error.code == "corrupt"
    assert "corrupt" in str(error)


def test_an_empty_file_has_no_text(tmp_path: Path) -> None:
    assert failure(tmp_path / "a.txt", b"").code == "no_text"
    assert media_types.sniff(b"", "a.txt") == signatures.EMPTY
