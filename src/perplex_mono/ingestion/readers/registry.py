"""Which function reads which media type; modules are imported when needed, so a child that reads PDFs loads no lxml."""

import importlib

from perplex_mono.errors import DocumentFailure
from perplex_mono.ingestion.readers.contract import Reader
from perplex_mono.library import media_types

# Part of the key of stored pages: raise it when any reader gives other text, blocks or boxes for the same file.
READERS_VERSION = 1
PACKAGE = "perplex_mono.ingestion.readers"
IMAGE_TYPES: frozenset[str] = frozenset(
    media_type for media_type in media_types.SUPPORTED if media_type.startswith("image/")
)
READERS: dict[str, str] = {
    media_types.PDF: "pdf:read",
    **dict.fromkeys(IMAGE_TYPES, "images:read"),
    media_types.DOCX: "docx:read",
    media_types.PPTX: "pptx:read",
    media_types.XLSX: "sheets:read",
    media_types.XLS: "sheets:read_xls",
    media_types.ODT: "opendocument:read",
    media_types.ODS: "opendocument:read",
    media_types.ODP: "opendocument:read",
    media_types.EPUB: "epub:read",
    media_types.HTML: "html:read",
    media_types.MARKDOWN: "markdown:read",
    media_types.PLAIN_TEXT: "text:read",
    media_types.CSV: "delimited:read",
    media_types.TSV: "delimited:read",
    media_types.JSON: "json_text:read",
    media_types.JSON_LINES: "json_text:read",
    media_types.EML: "mail:read",
    media_types.MSG: "outlook:read",
}


def load_reader(media_type: str) -> Reader:
    """The reader of a media type. Raises `DocumentFailure("unsupported")` when there is none."""
    place = READERS.get(media_type)
    if place is None:
        raise DocumentFailure("unsupported", f"Files of the type {media_type} cannot be read.")
    module_name, _, function_name = place.partition(":")
    reader: Reader = getattr(importlib.import_module(f"{PACKAGE}.{module_name}"), function_name)
    return reader
