"""What a file is, by its bytes: the name only breaks ties between kinds of plain text.

`sniff` is quick and looks at the beginning only (the server calls it while an upload streams in); `detect` opens
containers and decides finally (the reader child calls it).
"""

import zipfile
import zlib
from pathlib import Path, PurePath

import msgspec
import olefile

from perplex_mono.errors import DocumentFailure
from perplex_mono.library import signatures, text_kinds

SNIFF_BYTES = 8192
"""How much of the beginning `sniff` wants to see."""

PDF = "application/pdf"
DOCX = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
PPTX = "application/vnd.openxmlformats-officedocument.presentationml.presentation"
XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
XLS = "application/vnd.ms-excel"
ODT = "application/vnd.oasis.opendocument.text"
ODS = "application/vnd.oasis.opendocument.spreadsheet"
ODP = "application/vnd.oasis.opendocument.presentation"
EPUB = "application/epub+zip"
MSG = "application/vnd.ms-outlook"
EML = text_kinds.EML
HTML = text_kinds.HTML
MARKDOWN = text_kinds.MARKDOWN
PLAIN_TEXT = text_kinds.PLAIN
CSV = text_kinds.CSV
TSV = text_kinds.TSV
JSON = text_kinds.JSON
JSON_LINES = text_kinds.JSON_LINES


class MediaType(msgspec.Struct, frozen=True):
    """How people call a media type, and the extensions it usually has, most usual first."""

    name: str
    extensions: tuple[str, ...]


SUPPORTED: dict[str, MediaType] = {
    PDF: MediaType("PDF", (".pdf",)),
    DOCX: MediaType("Word document", (".docx", ".docm", ".dotx", ".dotm")),
    PPTX: MediaType("PowerPoint presentation", (".pptx", ".pptm", ".ppsx", ".potx")),
    XLSX: MediaType("Excel workbook", (".xlsx", ".xlsm", ".xltx", ".xltm")),
    XLS: MediaType("Excel 97-2003 workbook", (".xls",)),
    ODT: MediaType("OpenDocument text", (".odt", ".ott")),
    ODS: MediaType("OpenDocument spreadsheet", (".ods", ".ots")),
    ODP: MediaType("OpenDocument presentation", (".odp", ".otp")),
    EPUB: MediaType("EPUB book", (".epub",)),
    HTML: MediaType("HTML page", (".html", ".htm", ".xhtml")),
    MARKDOWN: MediaType("Markdown", (".md", ".markdown")),
    PLAIN_TEXT: MediaType("plain text", (".txt", ".text", ".log")),
    CSV: MediaType("CSV table", (".csv",)),
    TSV: MediaType("TSV table", (".tsv", ".tab")),
    JSON: MediaType("JSON", (".json",)),
    JSON_LINES: MediaType("JSON lines", (".jsonl", ".ndjson")),
    EML: MediaType("mail message", (".eml",)),
    MSG: MediaType("Outlook message", (".msg",)),
    "image/png": MediaType("PNG image", (".png",)),
    "image/jpeg": MediaType("JPEG image", (".jpg", ".jpeg")),
    "image/tiff": MediaType("TIFF image", (".tif", ".tiff")),
    "image/webp": MediaType("WebP image", (".webp",)),
    "image/bmp": MediaType("BMP image", (".bmp",)),
    "image/gif": MediaType("GIF image", (".gif",)),
}

_OPEN_DOCUMENT = {ODT, ODS, ODP}
_OOXML_MAIN_PARTS = (
    (b"wordprocessingml", DOCX),
    (b"ms-word.document", DOCX),
    (b"ms-word.template", DOCX),
    (b"sheet.binary", ""),
    (b"spreadsheetml", XLSX),
    (b"ms-excel", XLSX),
    (b"presentationml", PPTX),
    (b"ms-powerpoint", PPTX),
)
_OLE_STREAMS = (
    ("EncryptedPackage", "encrypted"),
    ("__properties_version1.0", MSG),
    ("WordDocument", "application/msword"),
    ("PowerPoint Document", "application/vnd.ms-powerpoint"),
    ("Workbook", XLS),
    ("Book", XLS),
    ("VisioDocument", "application/vnd.visio"),
)
_MAX_CONTENT_TYPES_BYTES = 4 * 1024 * 1024


def sniff(head: bytes, name: str) -> str:
    """A media type from the first `SNIFF_BYTES` of a file; never raises.

    Zip and OLE containers come back as `application/zip` and `application/x-ole-storage` unless the first bytes
    already tell more; an empty file as `application/x-empty`; unknown bytes as `application/octet-stream`.
    """
    if not head:
        return signatures.EMPTY
    binary = signatures.match(head)
    if binary is not None:
        return binary
    return text_kinds.classify(head[:SNIFF_BYTES], PurePath(name).suffix.lower())


def detect(path: str, name: str) -> str:
    """The final media type of a file, one of `SUPPORTED`.

    Raises `DocumentFailure`: `unsupported` with advice, `encrypted`, `corrupt` (a broken container) or `no_text`
    (an empty file).
    """
    with Path(path).open("rb") as file:
        head = file.read(SNIFF_BYTES)
    media_type = sniff(head, name)
    if media_type == signatures.EMPTY:
        raise DocumentFailure("no_text", "The file is empty.")
    if media_type == signatures.ZIP:
        media_type = _inside_zip(path)
    elif media_type == signatures.OLE:
        media_type = _inside_ole(path)
    if media_type not in SUPPORTED:
        raise DocumentFailure("unsupported", signatures.advice(media_type))
    return media_type


def _inside_zip(path: str) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            names = set(archive.namelist())
            if "[Content_Types].xml" in names:
                return _ooxml_kind(archive)
            if "mimetype" in names:
                with archive.open("mimetype") as member:
                    return _declared_kind(member.read(200))
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, ValueError, NotImplementedError, RuntimeError) as error:
        raise DocumentFailure("corrupt", "The file is corrupt: its zip container cannot be read.") from error
    if "META-INF/container.xml" in names:
        return EPUB
    if any(name.endswith(".iwa") for name in names):
        return signatures.IWORK
    return signatures.ZIP


def _ooxml_kind(archive: zipfile.ZipFile) -> str:
    """The kind of an Office file, from the content type of its main part."""
    with archive.open("[Content_Types].xml") as member:
        declared = member.read(_MAX_CONTENT_TYPES_BYTES).replace(b"\0", b"").lower()
    for part in declared.split(b"<override")[1:]:
        if b"main+xml" in part or b"sheet.binary.macroenabled.main" in part:
            for marker, media_type in _OOXML_MAIN_PARTS:
                if marker in part:
                    return media_type or signatures.XLSB
    folders = {name.split("/", 1)[0] for name in archive.namelist()}
    return next(
        (kind for folder, kind in (("word", DOCX), ("xl", XLSX), ("ppt", PPTX)) if folder in folders), "application/zip"
    )


def _declared_kind(content: bytes) -> str:
    declared = content.decode("ascii", "replace").strip().removesuffix("-template")
    if declared == EPUB or declared in _OPEN_DOCUMENT:
        return declared
    return signatures.OTHER_OPEN_DOCUMENT if "opendocument" in declared else signatures.ZIP


def _inside_ole(path: str) -> str:
    try:
        with olefile.OleFileIO(path) as container:
            streams = {entry[0].lower() for entry in container.listdir(streams=True, storages=False)}
    except Exception as error:  # olefile raises whatever its unpacking meets: OSError, struct, index, recursion
        raise DocumentFailure("corrupt", "The file is corrupt: its OLE container cannot be read.") from error
    for stream, media_type in _OLE_STREAMS:
        if stream.lower() in streams:
            if media_type == "encrypted":
                raise DocumentFailure("encrypted", "The document is encrypted; save it without a password.")
            return media_type
    return signatures.OLE
