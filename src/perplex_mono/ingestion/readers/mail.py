"""Mail messages (EML): headers and body as text, everything attached as files of its own."""

import email.errors
import email.header
import email.parser
import email.policy
import email.utils
from collections.abc import Iterator
from email.message import Message
from itertools import chain
from pathlib import Path

import msgspec

from perplex_mono.errors import DocumentFailure
from perplex_mono.ingestion.pages import Attachment
from perplex_mono.ingestion.readers.attachments import AttachmentWriter
from perplex_mono.ingestion.readers.contract import Opened, ReaderItem, ReadRequest
from perplex_mono.ingestion.readers.damage import reported_as_corrupt
from perplex_mono.ingestion.readers.decoding import decode
from perplex_mono.ingestion.readers.html_pieces import html_pieces
from perplex_mono.ingestion.readers.page_builder import PageWriter, Piece, heading, one_line, paragraph
from perplex_mono.ingestion.readers.text import paragraphs
from perplex_mono.library.media_types import EML

MAX_MAIL_BYTES = 200 * 1024 * 1024
"""The standard parser holds a message several times over in memory."""

_SHOWN_HEADERS = ("From", "To", "Cc", "Bcc", "Date")
_LONGEST_HEADER = 10_000
_MAX_PARTS = 1_000
_MAX_DEPTH = 30
_SMALL_PICTURE_BYTES = 20_000  # pictures shown in the body below this are logos and tracking dots


class _Part(msgspec.Struct, frozen=True):
    """A leaf of the message: its decoded bytes and how it is to be understood."""

    message: Message
    alternative: int | None
    is_related: bool


def read(request: ReadRequest) -> Iterator[ReaderItem]:
    """Read a message: headers and body as sections, then each attachment."""
    if Path(request.path).stat().st_size > MAX_MAIL_BYTES:
        raise DocumentFailure("too_large", f"The mail message is larger than {MAX_MAIL_BYTES} bytes.")
    with reported_as_corrupt("a mail message"), Path(request.path).open("rb") as file:
        message = email.parser.BytesParser(policy=email.policy.compat32).parse(file)
        parts = list(_leaves(message))
    if any(part.message.get_content_type() == "application/pkcs7-mime" for part in parts[:1]):
        smime = str(parts[0].message.get_param("smime-type", ""))
        if smime in ("", "enveloped-data"):
            raise DocumentFailure("encrypted", "The mail message is encrypted; save it decrypted.")
    if message.get_content_type() == "multipart/encrypted":
        raise DocumentFailure("encrypted", "The mail message is encrypted; save it decrypted.")
    pages = PageWriter(request)
    with reported_as_corrupt("a mail message"):
        body, attached = _body_and_attached(parts)
        writer = AttachmentWriter(request)
        attachments = _write_all(attached, writer)
        yield Opened(EML, None, writer.warnings)
        pieces = chain(_header_pieces(message), body_pieces(body))
        yield from pages.sections(pieces, label=_header(message, "Subject"))
        yield from attachments
    pages.finish()


def body_pieces(body: list[tuple[str, bool]]) -> Iterator[Piece]:
    """Pieces of body texts, each with whether it is HTML."""
    for text, is_html in body:
        yield from html_pieces([text]) if is_html else paragraphs(text.splitlines(keepends=True))


def header_piece(fields: list[tuple[str, str]]) -> Piece:
    """The named headers that have a value, as one paragraph."""
    return paragraph("\n".join(f"{name}: {value}" for name, value in fields if value))


def _header_pieces(message: Message) -> Iterator[Piece]:
    subject = _header(message, "Subject")
    if subject:
        yield heading(subject, 1)
    yield header_piece([(name, _header(message, name)) for name in _SHOWN_HEADERS])


def _header(message: Message, name: str) -> str:
    """A header decoded as far as it can be; never raises."""
    raw = next((value for key, value in message.raw_items() if key.lower() == name.lower()), "")[:_LONGEST_HEADER]
    return one_line(_decoded(raw))


def _decoded(raw: str) -> str:
    """A header value with its encoded words, or bytes that should have been encoded, as text."""
    try:
        if not raw.isascii():
            return decode(raw.encode("ascii", "surrogateescape"))
        return str(email.header.make_header(email.header.decode_header(raw))) or raw
    except (email.errors.MessageError, LookupError, ValueError):
        return raw


def _leaves(message: Message) -> Iterator[_Part]:
    """The parts that hold content, in order, each with the multipart/alternative it is one form of."""
    stack: list[tuple[Message, int | None, bool, int]] = [(message, None, False, 0)]
    seen = 0
    while stack:
        part, alternative, is_related, depth = stack.pop()
        seen += 1
        if seen > _MAX_PARTS or depth > _MAX_DEPTH:
            raise DocumentFailure("too_large", "The mail message has too many parts.")
        kind = part.get_content_type()
        payload = part.get_payload()
        if kind == "message/rfc822" or not isinstance(payload, list):
            yield _Part(part, alternative, is_related)
            continue
        if kind == "multipart/alternative" and alternative is None:
            alternative = seen
        is_related = is_related or kind == "multipart/related"
        children = [child for child in payload if isinstance(child, Message)]
        stack.extend((child, alternative, is_related, depth + 1) for child in reversed(children))


def _body_and_attached(parts: list[_Part]) -> tuple[list[tuple[str, bool]], list[_Part]]:
    """Texts of the body, of alternatives the plain one unless it is blank; and the parts that are files."""
    body: list[tuple[str, bool]] = []
    attached: list[_Part] = []
    told: dict[int, int] = {}
    for part in parts:
        kind = part.message.get_content_type()
        if not kind.startswith("text/") or part.message.get_filename() or _is_attachment(part.message):
            attached.append(part)
            continue
        text = decode(_bytes(part.message), _charset(part.message))
        if not text.strip():
            continue
        entry = (text, kind == "text/html")
        if part.alternative is None:
            body.append(entry)
        elif part.alternative not in told:
            told[part.alternative] = len(body)
            body.append(entry)
        elif body[told[part.alternative]][1] and kind == "text/plain":
            body[told[part.alternative]] = entry
    return body, attached


def _is_attachment(part: Message) -> bool:
    return str(part.get("Content-Disposition", "")).lower().lstrip().startswith("attachment")


def _write_all(parts: list[_Part], writer: AttachmentWriter) -> list[Attachment]:
    written = []
    for part in parts:
        kind = part.message.get_content_type()
        if kind in ("application/pgp-signature", "application/pkcs7-signature", "application/x-pkcs7-signature"):
            continue
        data = _bytes(part.message)
        if part.is_related and kind.startswith("image/") and len(data) < _SMALL_PICTURE_BYTES:
            continue
        attachment = writer.write(_file_name(part.message), data)
        if attachment is not None:
            written.append(attachment)
    return written


def _bytes(part: Message) -> bytes:
    """The decoded content; of an attached message its whole source."""
    if part.get_content_type() == "message/rfc822" and part.is_multipart():
        inner = part.get_payload(0)
        return inner.as_bytes() if isinstance(inner, Message) else b""
    data = part.get_payload(decode=True)
    return data if isinstance(data, bytes) else b""


def _charset(part: Message) -> str | None:
    charset = part.get_param("charset")
    return str(email.utils.collapse_rfc2231_value(charset)) if charset else None


def _file_name(part: Message) -> str:
    """The name the sender gave, else the attached message's subject."""
    name = part.get_filename()
    if name:
        return _decoded(name)
    if part.get_content_type() == "message/rfc822":
        inner = part.get_payload(0) if part.is_multipart() else None
        subject = _header(inner, "Subject") if isinstance(inner, Message) else ""
        return f"{subject or 'message'}.eml"
    return ""
