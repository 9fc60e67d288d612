"""Mail and books: what was written is text, what was attached is a file of its own."""

import base64
from email.message import EmailMessage
from pathlib import Path

import pytest

from perplex_mono.errors import DocumentFailure
from perplex_mono.ingestion.readers.attachments import safe_name
from perplex_mono.ingestion.readers.contract import ReaderLimits
from tests.unit.ingestion import reader_files as make


def text_of(path: Path) -> str:
    return "\n".join(page.text for page in make.pages_of(path))


def test_headers_and_plain_body_are_the_text(tmp_path: Path) -> None:
    assert text_of(make.mail_file(tmp_path / "a.eml")) == (
        "Schöne Grüße\n\nFrom: Keeper <keeper@example.org>\nTo: Harbour <harbour@example.org>\n"
        "Cc: Pilot <pilot@example.org>\nDate: Sat, 01 Nov 2025 10:00:00 +0000\n\nThe light is lit.\n\nCome soon."
    )


def test_html_is_read_where_there_is_no_plain_text(tmp_path: Path) -> None:
    message = EmailMessage()
    message["From"], message["Subject"] = "a@example.org", "s"
    message.set_content(" \n")
    message.add_alternative("<h2>Lit</h2><script>no</script><p>in colour</p>", subtype="html")
    (tmp_path / "a.eml").write_bytes(message.as_bytes())
    assert text_of(tmp_path / "a.eml") == "s\n\nFrom: a@example.org\n\nLit\n\nin colour"


def test_attachments_are_written_under_names_of_our_own(tmp_path: Path) -> None:
    path = make.mail_file(tmp_path / "a.eml", attachments=[("../../etc/pass\twd", b"one"), ("ä.txt", b"two")])
    found = make.attachments_of(make.read_file(path))
    assert [(item.name, item.size_bytes) for item in found] == [("pass wd", 3), ("ä.txt", 3)]
    assert [Path(item.path) for item in found] == [
        tmp_path / "attachments" / "att-0001.bin",
        tmp_path / "attachments" / "att-0002.bin",
    ]
    assert [Path(item.path).read_bytes() for item in found] == [b"one", b"two"]


def test_attachments_past_a_limit_are_left_out_with_a_warning(tmp_path: Path) -> None:
    path = make.mail_file(tmp_path / "a.eml", attachments=[("big", b"x" * 50), ("one", b"1"), ("two", b"2")])
    items = make.read_file(path, limits=ReaderLimits(max_attachments=1, max_attachment_bytes=10))
    assert [item.name for item in make.attachments_of(items)] == ["one"]
    assert [warning.split("'")[1] for warning in make.opened(items).warnings] == ["big", "two"]


def test_an_attached_message_is_a_file(tmp_path: Path) -> None:
    inner = EmailMessage()
    inner["Subject"] = "inner subject"
    inner.set_content("inner body")
    outer = EmailMessage()
    outer["From"], outer["Subject"] = "a@example.org", "outer"
    outer.set_content("see attached")
    outer.add_attachment(inner)
    (tmp_path / "a.eml").write_bytes(outer.as_bytes())
    (found,) = make.attachments_of(make.read_file(tmp_path / "a.eml"))
    assert found.name == "inner subject.eml"
    assert b"inner body" in Path(found.path).read_bytes()
    assert "inner body" not in text_of(tmp_path / "a.eml")


def test_small_pictures_of_the_body_are_not_files(tmp_path: Path) -> None:
    message = EmailMessage()
    message["From"], message["Subject"] = "a@example.org", "s"
    message.set_content("<img src='cid:x'>hello", subtype="html")
    message.add_related(b"\x89PNG" * 10, "image", "png", cid="<x>")
    message.add_related(b"\x89PNG" * 10_000, "image", "png", cid="<y>", filename="scan.png")
    (tmp_path / "a.eml").write_bytes(message.as_bytes())
    assert [item.name for item in make.attachments_of(make.read_file(tmp_path / "a.eml"))] == ["scan.png"]


@pytest.mark.parametrize(
    ("header", "shown"),
    [
        ("=?utf-8?q?Gr=C3=BC=C3=9Fe?=", "Grüße"),
        ("=?bogus?q?x?=", "=?bogus?q?x?="),
        ("=?utf-8?b?!!!?=", "=?utf-8?b?!!!?="),
        ("Gr\xfc\xdfe", "Grüße"),
        ("a\n b", "a b"),
    ],
)
def test_malformed_headers_are_shown_as_well_as_can_be(tmp_path: Path, header: str, shown: str) -> None:
    make.text_file(tmp_path / "a.eml", f"Subject: {header}\nFrom: a@b\n\nbody".encode("latin-1"))
    assert make.blocks_of(make.pages_of(tmp_path / "a.eml"))[0] == ("heading", shown, 1)


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ("Content-Type: text/plain; charset=klingon", "Grüße".encode()),
        ("Content-Type: text/plain; charset=us-ascii", "Grüße".encode()),
        ("Content-Type: text/plain; charset=iso-8859-1\nContent-Transfer-Encoding: quoted-printable", b"Gr=FC=DFe"),
        ("Content-Type: text/plain\nContent-Transfer-Encoding: base64", base64.b64encode("Grüße".encode())),
        ("Content-Type: text", "Grüße".encode()),
    ],
)
def test_wrong_charsets_and_encodings_of_the_body(tmp_path: Path, headers: str, body: bytes) -> None:
    make.text_file(tmp_path / "a.eml", f"From: a@b\nTo: c\nDate: d\n{headers}\n\n".encode() + body)
    assert text_of(tmp_path / "a.eml").endswith("Grüße")


def test_parts_without_end_fail(tmp_path: Path) -> None:
    nested = "".join(f'Content-Type: multipart/mixed; boundary="b{level}"\n\n--b{level}\n' for level in range(3_000))
    make.text_file(tmp_path / "a.eml", f"From: a\nTo: b\nDate: c\n{nested}")
    with pytest.raises(DocumentFailure) as caught:
        make.read_file(tmp_path / "a.eml")
    assert caught.value.code in ("corrupt", "too_large")


@pytest.mark.parametrize(
    "kind", ["application/pkcs7-mime; smime-type=enveloped-data", 'multipart/encrypted; boundary="b"']
)
def test_encrypted_mail_says_so(tmp_path: Path, kind: str) -> None:
    make.text_file(tmp_path / "a.eml", f"From: a\nTo: b\nDate: c\nContent-Type: {kind}\n\n--b\n\nAAAA\n--b--\n")
    with pytest.raises(DocumentFailure) as caught:
        make.read_file(tmp_path / "a.eml")
    assert caught.value.code == "encrypted"


def test_file_names_are_only_data() -> None:
    assert safe_name("..\\..\\a\0b\u202e.exe") == "ab\u202e.exe"
    assert len(safe_name("x" * 4_000)) == 255


def test_a_book_is_read_along_its_spine(tmp_path: Path) -> None:
    chapters = [("First", "<h1>First light</h1><p>Ships.</p>"), ("Second", "<ul><li>one</li></ul>")]
    pages = make.pages_of(make.book_file(tmp_path / "a.epub", chapters))
    assert [(page.number, page.label) for page in pages] == [(1, "First"), (2, "Second")]
    assert make.blocks_of(pages) == [
        ("heading", "First light", 1),
        ("paragraph", "Ships.", 0),
        ("list_item", "- one", 1),
    ]


def test_a_long_chapter_becomes_several_pages_of_one_name(tmp_path: Path) -> None:
    pages = make.pages_of(
        make.book_file(tmp_path / "a.epub", [("Long", "<p>word word</p>" * 4_000), ("End", "<p>x</p>")])
    )
    assert len(pages) > 3
    assert {page.label for page in pages} == {"Long", "End"}


def test_copy_protected_books_say_so_and_obfuscated_fonts_do_not_matter(tmp_path: Path) -> None:
    def encryption(method: str) -> list[tuple[str, str]]:
        return [("META-INF/encryption.xml", f'<encryption><EncryptionMethod Algorithm="{method}"/></encryption>')]

    chapters = [("One", "<p>x</p>")]
    fonts = make.book_file(tmp_path / "a.epub", chapters, encryption("http://www.idpf.org/2008/embedding"))
    assert text_of(fonts) == "x"
    locked = make.book_file(tmp_path / "b.epub", chapters, encryption("http://www.w3.org/2001/04/xmlenc#aes128-cbc"))
    with pytest.raises(DocumentFailure) as caught:
        make.read_file(locked)
    assert caught.value.code == "encrypted"


def test_a_chapter_outside_the_book_is_not_opened(tmp_path: Path) -> None:
    secret = make.text_file(tmp_path / "secret.xhtml", "<p>secret</p>")
    path = make.book_file(tmp_path / "a.epub", [("One", "<p>x</p>")])
    make.rewrite_member(path, "OPS/book.opf", b'href="c0.xhtml"', f'href="../../..{secret}"'.encode())
    with pytest.raises(DocumentFailure) as caught:
        make.read_file(path)
    assert caught.value.code == "no_text"
