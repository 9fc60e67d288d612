"""Attacks by containers: office files and archives that unpack to too much, elsewhere, or to somebody's port."""

from pathlib import Path

import httpx

from tests.server_process import ServerProcess
from tests.system.attacks.hostile_client import (
    MEGABYTE,
    Listener,
    bounded_growth,
    final_documents,
    require_failed,
)
from tests.system.attacks.hostile_files import WORD, Member, lie_about_size, link_member, word_package
from tests.unit.ingestion import reader_files as make

ENTITY_LEVELS = "".join(f'<!ENTITY e{level + 1} "{f"&e{level};" * 10}">' for level in range(9))
ENTITY_BOMB = f'<!DOCTYPE x [<!ENTITY e0 "lol">{ENTITY_LEVELS}]>'
HEADER_KIND = "http://schemas.openxmlformats.org/officeDocument/2006/relationships/header"


def _texts(server: ServerProcess, document: dict[str, str]) -> str:
    return httpx.get(f"{server.url}/api/v1/documents/{document['id']}/pages/1", timeout=30).text


def test_a11_members_with_paths_links_and_twins_are_never_unpacked(server: ServerProcess, tmp_path: Path) -> None:
    slips = ("../../../../escaped", "/tmp/perplex-escaped", "..\\..\\escaped", "word/../../escaped")
    slip = word_package(tmp_path / "slip.docx", "slip words", [(name, "escaped") for name in slips])
    link = word_package(tmp_path / "link.docx", "link words", [link_member("word/media/image1.png", "/etc/passwd")])
    twin = word_package(tmp_path / "twin.docx", "first words", [(WORD, "<nothing/>"), ("docProps/app.xml", "x")])
    found = final_documents(server, {path.name: path.read_bytes() for path in (slip, link, twin)})
    assert found["slip.docx"]["status"] == found["link.docx"]["status"] == "ready"
    assert found["twin.docx"]["status"] in ("ready", "failed")
    assert "root:" not in _texts(server, found["link.docx"])
    assert not Path("/tmp/perplex-escaped").exists()
    assert list(server.data.parent.rglob("*escaped*")) == []


def test_a12_bombs_are_seen_before_they_are_unpacked(server: ServerProcess, tmp_path: Path) -> None:
    ratio = word_package(tmp_path / "ratio.docx", "a" * 40 * MEGABYTE)
    size = word_package(tmp_path / "size.docx", "x", [(f"{number}", b"\0" * 60 * MEGABYTE) for number in range(20)])
    count = word_package(tmp_path / "count.docx", "x", [(f"x{number}", "") for number in range(20_000)])
    rows = "<row><c><v>123456789</v></c></row>" * 1_000_000
    sheet = make.workbook_file(tmp_path / "rows.xlsx", [("S", make.TABLE)])
    make.rewrite_member(sheet, "xl/worksheets/sheet1.xml", b"</sheetData>", f"{rows}</sheetData>".encode())
    with bounded_growth(server, 200 * MEGABYTE):
        found = final_documents(server, {path.name: path.read_bytes() for path in (ratio, size, count, sheet)})
    require_failed(found, **dict.fromkeys(found, "too_large"))


def test_a13_sizes_that_lie_are_corrupt(server: ServerProcess, tmp_path: Path) -> None:
    small = lie_about_size(word_package(tmp_path / "small.docx", "x" * 5_000), WORD, 10)
    large = lie_about_size(word_package(tmp_path / "large.docx", "y" * 5_000), WORD, 2**31)
    found = final_documents(server, {path.name: path.read_bytes() for path in (small, large)})
    require_failed(found, **{"small.docx": "corrupt", "large.docx": "too_large"})


def test_a14_entities_are_never_expanded_or_fetched(server: ServerProcess, tmp_path: Path, listener: Listener) -> None:
    outside = (
        f'<!DOCTYPE x [<!ENTITY c SYSTEM "file:///etc/passwd"><!ENTITY d SYSTEM "http://127.0.0.1:{listener.port}/">]>'
    )
    bomb = word_package(tmp_path / "bomb.docx", "&e9;", prolog=ENTITY_BOMB)
    thief = word_package(tmp_path / "thief.docx", "&c;&d;", prolog=outside)
    book = make.book_file(tmp_path / "book.epub", [("One", "<p>words &c; end</p>")])
    make.rewrite_member(book, "OPS/c0.xhtml", b"<html>", outside.encode() + b"<html>")
    with bounded_growth(server, 200 * MEGABYTE):
        found = final_documents(server, {path.name: path.read_bytes() for path in (bomb, thief, book)})
    assert found["bomb.docx"]["failure"]["code"] == found["thief.docx"]["failure"]["code"] == "corrupt"
    assert "root:" not in _texts(server, found["book.epub"])
    assert listener.calls() == 0


def test_a15_macros_are_not_run_and_outside_parts_not_fetched(
    server: ServerProcess, tmp_path: Path, listener: Listener
) -> None:
    address = f"http://127.0.0.1:{listener.port}/template.dotm"
    relations = "".join(
        f'<Relationship Id="r{number}" Type="{HEADER_KIND}" Target="{target}" TargetMode="External"/>'
        for number, target in enumerate((address, "file:///etc/passwd", "../../../../etc/passwd"))
    )
    members: list[Member] = [
        ("word/_rels/document.xml.rels", f"<Relationships>{relations}</Relationships>"),
        ("word/_rels/settings.xml.rels", f"<Relationships>{relations}</Relationships>"),
        ("word/vbaProject.bin", b'Sub AutoOpen()\nShell("touch escaped")\nEnd Sub'),
    ]
    found = final_documents(server, {"m.docm": word_package(tmp_path / "m.docm", "macro words", members).read_bytes()})
    assert found["m.docm"]["status"] == "ready"
    assert "root:" not in _texts(server, found["m.docm"])
    assert listener.calls() == 0


def test_a16_plain_archives_are_not_opened(server: ServerProcess, tmp_path: Path) -> None:
    inner = make.zip_file(tmp_path / "inner.zip", [("a.txt", "a" * 10_000)]).read_bytes()
    nested = make.zip_file(tmp_path / "nested.zip", [(f"{number}.zip", inner) for number in range(50)]).read_bytes()
    found = final_documents(server, {"nested.zip": nested, "a.tar.gz": b"\x1f\x8b\x08" + b"\0" * 400})
    require_failed(found, **{"nested.zip": "unsupported", "a.tar.gz": "unsupported"})
