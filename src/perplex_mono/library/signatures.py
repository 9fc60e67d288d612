"""Binary formats by their first bytes, and what to tell people about those that are not read."""

import re

EMPTY = "application/x-empty"
ZIP = "application/zip"
OLE = "application/x-ole-storage"
UNKNOWN = "application/octet-stream"
EXECUTABLE = "application/x-executable"
RTF = "application/rtf"
SVG = "image/svg+xml"
IWORK = "application/vnd.apple.iwork"
XLSB = "application/vnd.ms-excel.sheet.binary.macroenabled.12"
OTHER_OPEN_DOCUMENT = "application/vnd.oasis.opendocument"

_AT_START: tuple[tuple[bytes, str], ...] = (
    (b"%PDF-", "application/pdf"),
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"II*\0", "image/tiff"),
    (b"MM\0*", "image/tiff"),
    (b"II+\0", "image/tiff"),
    (b"MM\0+", "image/tiff"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", OLE),
    (b"PK\x03\x04", ZIP),
    (b"PK\x05\x06", ZIP),
    (b"\x1f\x8b", "application/gzip"),
    (b"7z\xbc\xaf\x27\x1c", "application/x-7z-compressed"),
    (b"Rar!\x1a\x07", "application/vnd.rar"),
    (b"BZh", "application/x-bzip2"),
    (b"\xfd7zXZ\0", "application/x-xz"),
    (b"\x28\xb5\x2f\xfd", "application/zstd"),
    (b"!<arch>\n", "application/x-archive"),
    (b"{\\rtf", RTF),
    (b"%!PS", "application/postscript"),
    (b"\x7fELF", EXECUTABLE),
    (b"\xcf\xfa\xed\xfe", EXECUTABLE),
    (b"\xce\xfa\xed\xfe", EXECUTABLE),
    (b"\xca\xfe\xba\xbe", EXECUTABLE),
    (b"\0asm", EXECUTABLE),
    (b"SQLite format 3\0", "application/vnd.sqlite3"),
    (b"\x1aE\xdf\xa3", "video/x-matroska"),
    (b"\0\0\x01\xba", "video/mpeg"),
    (b"\0\0\x01\xb3", "video/mpeg"),
    (b"FLV\x01", "video/x-flv"),
    (b"ID3", "audio/mpeg"),
    (b"\xff\xfb", "audio/mpeg"),
    (b"\xff\xf3", "audio/mpeg"),
    (b"OggS", "audio/ogg"),
    (b"fLaC", "audio/flac"),
    (b"MThd", "audio/midi"),
)
_PDF_LATER = re.compile(rb"(?:^|[\r\n\0])%PDF-\d\.\d")
_PDF_HEADER_WITHIN = 1024  # as far as PDF viewers look for the header (ISO 32000-1, annex H.3.4.1)

_ADVICE: dict[str, str] = {
    "application/msword": "This is an old Word document (DOC). Save it as DOCX or PDF.",
    "application/vnd.ms-powerpoint": "This is an old PowerPoint presentation (PPT). Save it as PPTX or PDF.",
    "application/vnd.visio": "This is a Visio drawing. Export it as PDF.",
    XLSB: "This is a binary Excel workbook (XLSB). Save it as XLSX.",
    OTHER_OPEN_DOCUMENT: "This kind of OpenDocument file is not read. Export it as PDF.",
    IWORK: "This is an Apple iWork document. Export it as PDF, DOCX, XLSX or PPTX.",
    OLE: "This is an old Office container of an unknown kind. Save it as DOCX, XLSX, PPTX or PDF.",
    RTF: "This is an RTF document. Save it as DOCX or PDF.",
    SVG: "This is an SVG drawing. Export it as PDF or PNG.",
    "application/postscript": "This is a PostScript file. Convert it to PDF.",
    "application/vnd.sqlite3": "This is a SQLite database. Export its tables as CSV.",
    EXECUTABLE: "This is a program, not a document. Programs are never read.",
    UNKNOWN: "This is not a known document format. Convert it to PDF, DOCX or plain text.",
}
_ARCHIVES = frozenset(
    {
        ZIP,
        "application/gzip",
        "application/x-7z-compressed",
        "application/vnd.rar",
        "application/x-bzip2",
        "application/x-xz",
        "application/zstd",
        "application/x-archive",
        "application/x-tar",
    }
)


def match(head: bytes) -> str | None:
    """The media type of a binary format, or None for what may be text or is unknown.

    A file that fits several formats is what its very first bytes say; a PDF header further down counts only
    when nothing else matched.
    """
    for signature, media_type in _AT_START:
        if head.startswith(signature):
            return _first_member_kind(head) if media_type == ZIP else media_type
    if head[:2] == b"MZ" and (b"\0\0" in head[:64]):
        return EXECUTABLE
    if head[:2] == b"BM" and head[6:10] == b"\0\0\0\0":
        return "image/bmp"
    if head[:4] == b"RIFF":
        return {b"WEBP": "image/webp", b"AVI ": "video/x-msvideo", b"WAVE": "audio/wav"}.get(head[8:12], UNKNOWN)
    if head[4:8] == b"ftyp":
        return "audio/mp4" if head[8:11] == b"M4A" else "video/mp4"
    if head[257:262] == b"ustar":
        return "application/x-tar"
    if _PDF_LATER.search(head[:_PDF_HEADER_WITHIN]) and b" obj" in head:
        return "application/pdf"
    return None


def advice(media_type: str) -> str:
    """What an unsupported file is and what to convert it to, as a sentence for its owner."""
    if media_type in _ARCHIVES:
        return "This is an archive. Unpack it and add the documents inside."
    if media_type.startswith(("video/", "audio/")):
        return f"This is {media_type.split('/')[0]}, which is not read. Add a transcript as text."
    return _ADVICE.get(media_type, _ADVICE[UNKNOWN])


def _first_member_kind(head: bytes) -> str:
    """EPUB and OpenDocument store their type as an uncompressed first member named "mimetype"."""
    declared = re.match(
        rb".{26}\x08\0.{2}mimetype(application/[a-z0-9.+-]+?)(?:-template)?(?:PK|$)", head[:200], re.DOTALL
    )
    known = (b"application/epub+zip", b"application/vnd.oasis.opendocument.")
    if declared is not None and declared[1].startswith(known):
        kind = declared[1].decode()
        if kind.rpartition(".")[2] in ("text", "spreadsheet", "presentation") or kind.endswith("epub+zip"):
            return kind
    return ZIP
