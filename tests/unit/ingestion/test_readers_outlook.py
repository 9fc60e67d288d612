"""Outlook messages read like the same mail as EML."""

from pathlib import Path

import pytest

from perplex_mono.errors import DocumentFailure
from tests.unit.ingestion import outlook_file as msg
from tests.unit.ingestion import reader_files as make

HEADERS: dict[int, str | bytes] = {
    msg.SUBJECT: "Schöne Grüße",
    msg.SENDER: "keeper@example.org",
    msg.DISPLAY_TO: "Harbour",
}


def test_headers_body_and_attachments(tmp_path: Path) -> None:
    properties = HEADERS | {msg.BODY: "The light is lit.\r\n\r\nCome soon."}
    path = msg.outlook_file(tmp_path / "a.msg", properties, [("log.txt", b"one"), ("b.bin", b"two")])
    items = make.read_file(path)
    assert make.opened(items).media_type == "application/vnd.ms-outlook"
    (page,) = make.pages_of(path)
    assert page.text == "Schöne Grüße\n\nFrom: <keeper@example.org>\nTo: Harbour\n\nThe light is lit.\n\nCome soon."
    found = make.attachments_of(items)
    assert [(item.name, Path(item.path).read_bytes()) for item in found] == [("log.txt", b"one"), ("b.bin", b"two")]


def test_html_is_read_where_there_is_no_plain_text(tmp_path: Path) -> None:
    path = msg.outlook_file(tmp_path / "a.msg", HEADERS | {msg.HTML: "<h2>Lit</h2><p>Größe</p>".encode()})
    assert make.blocks_of(make.pages_of(path))[-2:] == [("heading", "Lit", 2), ("paragraph", "Größe", 0)]


def test_protected_messages_say_so(tmp_path: Path) -> None:
    path = msg.outlook_file(tmp_path / "a.msg", HEADERS, [("message.rpmsg", b"enciphered")])
    with pytest.raises(DocumentFailure) as caught:
        make.read_file(path)
    assert caught.value.code == "encrypted"


def test_a_message_without_its_properties_is_corrupt(tmp_path: Path) -> None:
    path = msg.outlook_file(tmp_path / "a.msg", HEADERS)
    stream = "__substg1.0_0037001F".encode("utf-16-le")
    path.write_bytes(path.read_bytes().replace(stream, stream.replace(b"3\0", b"9\0", 1)))
    with pytest.raises(DocumentFailure) as caught:
        make.read_file(path)
    assert caught.value.code == "corrupt"
