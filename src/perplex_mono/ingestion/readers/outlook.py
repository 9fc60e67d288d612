"""Outlook messages (MSG) by python-oxmsg: the same pages as an EML of the same mail would give."""

import re
from collections.abc import Iterator

from oxmsg import Message
from oxmsg.attachment import Attachment as OutlookAttachment

from perplex_mono.errors import DocumentFailure
from perplex_mono.ingestion.pages import Attachment
from perplex_mono.ingestion.readers.attachments import AttachmentWriter
from perplex_mono.ingestion.readers.contract import Opened, ReaderItem, ReadRequest
from perplex_mono.ingestion.readers.damage import reported_as_corrupt
from perplex_mono.ingestion.readers.decoding import decode
from perplex_mono.ingestion.readers.mail import body_pieces, header_piece
from perplex_mono.ingestion.readers.page_builder import PageWriter, Piece, heading
from perplex_mono.library.media_types import MSG

_HTML_BYTES = 0x1013  # PidTagHtml, [MS-OXPROPS] 2.767
_DISPLAY_CC = 0x0E03
_DISPLAY_TO = 0x0E04
_PROTECTED_ATTACHMENTS = frozenset({"message.rpmsg", "smime.p7m"})
_SIGNED = re.compile(r"multipart\.?signed", re.IGNORECASE)


def read(request: ReadRequest) -> Iterator[ReaderItem]:
    """Read a message: headers and body as sections, then each attachment."""
    with reported_as_corrupt("an Outlook message"):
        message = Message.load(request.path)
        files = list(message.attachments)
        _refuse_protected(message, files)
        writer = AttachmentWriter(request)
        attachments = _write_all(files, writer)
        pages = PageWriter(request)
        yield Opened(MSG, None, writer.warnings)
        yield from pages.sections(_pieces(message), label=message.subject)
        yield from attachments
    pages.finish()


def _refuse_protected(message: Message, files: list[OutlookAttachment]) -> None:
    names = {(file.file_name or "").lower() for file in files}
    is_signed_only = _SIGNED.search(message.message_class) is not None
    if names & _PROTECTED_ATTACHMENTS and not is_signed_only and not (message.body or "").strip():
        raise DocumentFailure("encrypted", "The Outlook message is encrypted; save it without protection.")


def _pieces(message: Message) -> Iterator[Piece]:
    if message.subject:
        yield heading(message.subject, 1)
    sent = message.sent_date
    yield header_piece(
        [
            ("From", message.sender or ""),
            ("To", _recipients(message, "To", _DISPLAY_TO)),
            ("Cc", _recipients(message, "Cc", _DISPLAY_CC)),
            ("Date", sent.isoformat(sep=" ", timespec="minutes") if sent else ""),
        ]
    )
    if (message.body or "").strip():
        yield from body_pieces([(message.body or "", False)])
        return
    html = message.properties.binary_prop_value(_HTML_BYTES)
    text = decode(html) if html else (message.html_body or "")
    yield from body_pieces([(text, True)])


def _recipients(message: Message, header: str, display: int) -> str:
    """The transport header where the message went over the internet, else the names Outlook shows."""
    for name, value in message.message_headers.items():
        if name.lower() == header.lower():
            return str(value)
    shown = message.properties.str_prop_value(display) or ""
    if header == "To" and not shown:
        return ", ".join(f"{person.name} <{person.email_address}>" for person in message.recipients)
    return shown


def _write_all(files: list[OutlookAttachment], writer: AttachmentWriter) -> list[Attachment]:
    written = []
    for file in files:
        data = file.file_bytes
        attachment = writer.write(file.file_name or "", data) if data else None
        if attachment is not None:
            written.append(attachment)
    return written
