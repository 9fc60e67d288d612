"""Which module reads which media type; modules are imported when needed, so a child that reads PDFs loads no lxml."""

import importlib

from perplex_mono.errors import DocumentFailure
from perplex_mono.ingestion.readers.contract import Reader

PACKAGE = "perplex_mono.ingestion.readers"
# Part of the key of stored pages: raise it when any reader gives other text, blocks or boxes for the same file.
READERS_VERSION = 1
IMAGE_TYPES: frozenset[str] = frozenset(
    {"image/png", "image/jpeg", "image/tiff", "image/webp", "image/bmp", "image/gif"}
)
READER_MODULES: dict[str, str] = {
    "application/pdf": "pdf",
    **dict.fromkeys(IMAGE_TYPES, "images"),
}


def load_reader(media_type: str) -> Reader:
    """The reader of a media type. Raises `DocumentFailure("unsupported")` when there is none."""
    module_name = READER_MODULES.get(media_type)
    if module_name is None:
        raise DocumentFailure("unsupported", f"Files of the type {media_type} cannot be read.")
    reader: Reader = importlib.import_module(f"{PACKAGE}.{module_name}").read
    return reader
