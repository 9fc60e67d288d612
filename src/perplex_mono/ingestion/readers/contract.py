"""The one interface every reader keeps: a request in, a stream of items out, `DocumentFailure` when it cannot.

A reader is a function `read(request) -> Iterator[ReaderItem]` in a module of its own. It yields `Opened` first, then
pages in order (never holding more than a page or two), attachments whenever it meets them. It runs in a reader child,
so it may be killed at any instant and leaves nothing behind but files in `request.attachments_dir`.
"""

from collections.abc import Callable, Iterator

import msgspec

from perplex_mono.ingestion.pages import Attachment, Page, PageImage


class ReaderLimits(msgspec.Struct, frozen=True):
    """What one document may cost. Breaking a limit is a `DocumentFailure`, never a crash of the server."""

    memory_bytes: int = 1_500_000_000
    max_pages: int = 5_000
    max_image_pixels: int = 40_000_000
    max_attachments: int = 100
    max_attachment_bytes: int = 512 * 1024 * 1024
    max_expanded_bytes: int = 1024 * 1024 * 1024
    ocr_dpi: int = 200


class ReadRequest(msgspec.Struct, frozen=True):
    """One document to read.

    `media_type` is what the bytes looked like at upload (coarse for zip and OLE containers); the child decides finally.
    `skip_pages` are page numbers already stored; they are counted but not yielded again.
    """

    path: str
    name: str
    media_type: str
    attachments_dir: str
    skip_pages: frozenset[int] = frozenset()
    limits: ReaderLimits = ReaderLimits()


class Opened(msgspec.Struct, frozen=True):
    """The document could be opened. `page_count` is None where the format has no pages or it is not yet known.

    `warnings` are about the whole document, such as attachments left out.
    """

    media_type: str
    page_count: int | None
    warnings: list[str] = []


ReaderItem = Opened | Page | PageImage | Attachment
Reader = Callable[[ReadRequest], Iterator[ReaderItem]]
