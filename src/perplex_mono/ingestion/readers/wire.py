"""What the server and a reader child say to each other over pipes, and how it is framed.

A frame is a 4-byte big-endian length and a msgpack message of at most `MAX_FRAME_BYTES`. Bulk bytes (pixels, PNG)
follow their announcing frame raw, so that neither side ever copies an image through the codec. Both sides check sizes:
the child so that a monstrous page becomes a clear failure, the parent because a hijacked child must not exhaust its
memory.
"""

import struct

import msgspec

from perplex_mono.errors import FailureCode
from perplex_mono.ingestion.pages import Attachment, Page, PageImage
from perplex_mono.ingestion.readers.contract import Opened, ReaderLimits, ReadRequest

MAX_FRAME_BYTES = 8 * 1024 * 1024
MAX_PNG_BYTES = 64 * 1024 * 1024
LENGTH = struct.Struct(">I")

Box = tuple[float, float, float, float]


class ReadCommand(msgspec.Struct, tag="read", frozen=True):
    """Read this document; answered by items, then `Done` or `Failed`."""

    request: ReadRequest


class RenderCommand(msgspec.Struct, tag="render", frozen=True):
    """Draw one page as PNG, `max_side` pixels at most, with the boxes (fractions of the page) marked."""

    path: str
    media_type: str
    page: int
    max_side: int
    highlights: list[Box]
    limits: ReaderLimits


class Ready(msgspec.Struct, tag="ready", frozen=True):
    """The child has started and waits for commands."""


class OpenedMessage(msgspec.Struct, tag="opened", frozen=True):
    """The document could be opened."""

    opened: Opened


class PageMessage(msgspec.Struct, tag="page", frozen=True):
    """A page of text."""

    page: Page


class ImageMessage(msgspec.Struct, tag="image", frozen=True):
    """A page image without its pixels; `width * height * 3` raw bytes follow the frame."""

    image: PageImage


class AttachmentMessage(msgspec.Struct, tag="attachment", frozen=True):
    """A file found inside the document, written to the attachments directory."""

    attachment: Attachment


class RenderedMessage(msgspec.Struct, tag="rendered", frozen=True):
    """A rendered page; `byte_count` raw bytes of PNG follow the frame."""

    byte_count: int


class Done(msgspec.Struct, tag="done", frozen=True):
    """The command succeeded; `rss_bytes` lets the parent recycle a child that has grown."""

    rss_bytes: int


class Failed(msgspec.Struct, tag="failed", frozen=True):
    """The command failed; `reusable` says that the child is as good as new and may serve on."""

    code: FailureCode
    message: str
    reusable: bool


Command = ReadCommand | RenderCommand
ChildMessage = Ready | OpenedMessage | PageMessage | ImageMessage | AttachmentMessage | RenderedMessage | Done | Failed


def frame(message: Command | ChildMessage) -> bytes:
    """The message as one frame, of any size: the caller compares with `MAX_FRAME_BYTES`."""
    body = msgspec.msgpack.encode(message)
    return LENGTH.pack(len(body)) + body
