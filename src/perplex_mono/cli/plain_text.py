"""Text from documents, made fit for a terminal: it may be shown, never obeyed.

A file name or a passage can hold escape sequences that move the cursor, change the title or type for the user, and
direction marks that make one name look like another. Each such character becomes a visible mark of the same length, so
offsets into the text stay right.
"""

import re

REPLACEMENT = "\ufffd"
_CONTROL = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # C0 but tab and newline, delete, C1
    "\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069"  # direction marks and separators
    "\ufeff\ud800-\udfff]"  # byte order mark, surrogates of undecodable file names
)
_JSON_CONTROL = re.compile("[\x7f-\x9f]")


def printable(text: str) -> str:
    """The text without terminal control, of the same length; tabs and newlines stay."""
    return _CONTROL.sub(REPLACEMENT, text)


def one_line(text: str) -> str:
    """The printable text on one line, blank space collapsed."""
    return " ".join(printable(text).split())


def printable_json(document: bytes) -> bytes:
    """The same JSON with the control characters escaped that JSON itself lets pass (delete and C1)."""
    escaped = _JSON_CONTROL.sub(lambda match: f"\\u{ord(match.group()):04x}", document.decode())
    return escaped.encode()
