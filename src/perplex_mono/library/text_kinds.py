"""Which kind of text a file is: content decides, the extension only where content leaves it open."""

import codecs
import csv
import json
import re

from perplex_mono.library.signatures import SVG, UNKNOWN

HTML = "text/html"
MARKDOWN = "text/markdown"
PLAIN = "text/plain"
CSV = "text/csv"
TSV = "text/tab-separated-values"
JSON = "application/json"
JSON_LINES = "application/x-ndjson"
EML = "message/rfc822"
KINDS = frozenset({HTML, MARKDOWN, PLAIN, CSV, TSV, JSON, JSON_LINES, EML})

_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_CONTROLS = bytes(set(range(1, 32)) - {7, 8, 9, 10, 12, 13, 27}) + b"\x7f"
_MOST_CONTROLS = 0.05  # random bytes have 0.10
_MOST_CONTROLS_BESIDE_ZEROS = 0.005  # text with stray NULs has no other controls, a binary format has

_PROLOG = re.compile(r"\s*(?:<\?xml[^>]*>\s*)?(?:<!--.*?-->\s*)*", re.DOTALL)
_SVG_ROOT = re.compile(r"<!doctype\s+svg|<svg[\s>]", re.IGNORECASE)
_HTML_ROOT = re.compile(r"<!doctype\s+html|<(?:html|head|body)[\s>]", re.IGNORECASE)
_ANY_TAG = re.compile(r"<(?:!doctype|[a-z][a-z0-9]*[\s/>])", re.IGNORECASE)
_HEADER = re.compile(r"([A-Za-z][A-Za-z0-9-]*):[ \t]?")
_MAIL_HEADERS = {"from", "to", "subject", "cc", "reply-to"}
_MAIL_ONLY_HEADERS = {"date", "mime-version", "received", "message-id", "return-path", "delivered-to"}
_JSON_START = re.compile(r'\s*(?:\{\s*(?:"|\}|$)|\[\s*(?:[\[{"\]\d-]|true|false|null|$))')
_MARKDOWN_SIGNS = (
    re.compile(r"^#{1,6} \S", re.MULTILINE),
    re.compile(r"^(?:```|~~~)", re.MULTILINE),
    re.compile(r"\[[^\]\n]+\]\([^)\s]+\)"),
    re.compile(r"^\|?[ :]*-{3,}[ :]*\|", re.MULTILINE),
)
_NAMED = {
    ".md": MARKDOWN,
    ".markdown": MARKDOWN,
    ".mdown": MARKDOWN,
    ".csv": CSV,
    ".tsv": TSV,
    ".tab": TSV,
}


def classify(head: bytes, extension: str) -> str:
    """One of the text types above, `image/svg+xml`, or `application/octet-stream` when it is no text at all."""
    text = _decode(head)
    if text is None:
        return UNKNOWN
    body = text[_match_end(_PROLOG, text) :]
    if _SVG_ROOT.match(body):
        return SVG
    if _HTML_ROOT.match(body) or (extension in (".html", ".htm", ".xhtml") and _ANY_TAG.search(text)):
        return HTML
    if _is_mail(text, extension):
        return EML
    if _JSON_START.match(text):
        kind = _json_kind(text, extension, complete=len(head) < 8192)
        if kind is not None:
            return kind
    if extension in _NAMED:
        return _NAMED[extension]
    return PLAIN if extension == ".txt" and "\t" not in text else _unnamed(text, extension)


def _unnamed(text: str, extension: str) -> str:
    """Text whose name does not help: a table only if it is one beyond doubt, Markdown by two different signs."""
    for delimiter, media_type in (("\t", TSV), (",", CSV), (";", CSV)):
        if _is_regular_table(text, delimiter):
            return media_type
    signs = sum(1 for sign in _MARKDOWN_SIGNS if sign.search(text))
    return MARKDOWN if not extension and signs >= 2 else PLAIN


def _decode(head: bytes) -> str | None:
    for bom, encoding in _BOMS:
        if head.startswith(bom):
            return head[len(bom) :].decode(encoding, "replace")
    if not head.strip(b"\0"):
        return None
    zeros = head.count(0)
    if zeros > len(head) // 4:
        return _decode_utf16(head)
    most_controls = _MOST_CONTROLS_BESIDE_ZEROS if zeros else _MOST_CONTROLS
    if len(head) - len(head.translate(None, _CONTROLS)) > len(head) * most_controls:
        return None
    return head.replace(b"\0", b"").decode("utf-8", "replace")


def _decode_utf16(head: bytes) -> str | None:
    """UTF-16 without a mark: half of the bytes of Western text are zero, all on the same side."""
    even, odd = head[0::2].count(0), head[1::2].count(0)
    if min(even, odd) > max(even, odd) // 20:
        return None
    return head.decode("utf-16-be" if even > odd else "utf-16-le", "replace")


def _match_end(pattern: re.Pattern[str], text: str) -> int:
    found = pattern.match(text)
    return found.end() if found else 0


def _is_mail(text: str, extension: str) -> bool:
    names = set()
    for number, line in enumerate(text.lstrip("\ufeff").splitlines()):
        header = _HEADER.match(line)
        if header:
            names.add(header[1].lower())
        elif not line.strip():
            break
        elif line[0] not in " \t" and not (number == 0 and line.startswith("From ")):
            return False
    if extension in (".eml", ".mht", ".mhtml"):
        return bool(names & (_MAIL_HEADERS | _MAIL_ONLY_HEADERS))
    return len(names & _MAIL_HEADERS) >= 2 and bool(names & _MAIL_ONLY_HEADERS)


def _json_kind(text: str, extension: str, *, complete: bool) -> str | None:
    lines = [line for line in text.splitlines() if line.strip()]
    if len(lines) > 1 and _parses(lines[0]) and lines[1].lstrip()[:1] in ("{", "["):
        return JSON_LINES
    if extension in (".jsonl", ".ndjson"):
        return JSON_LINES
    if extension == ".json":
        return JSON
    if extension in _NAMED:
        return None
    if complete:
        return JSON if _parses(text) else None
    return JSON if re.match(r'\s*(?:\{\s*"|\[\s*[\[{"])', text) else None


def _parses(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _is_regular_table(text: str, delimiter: str) -> bool:
    """At least five lines, all with the same three or more short fields."""
    lines = text.splitlines()[:-1][:50]
    if len(lines) < 5:
        return False
    try:
        rows = list(csv.reader(lines, delimiter=delimiter, strict=True))
    except csv.Error:
        return False
    widths = {len(row) for row in rows}
    cells = [cell for row in rows for cell in row]
    return len(widths) == 1 and widths.pop() >= 3 and sum(map(len, cells)) < 40 * len(cells)
