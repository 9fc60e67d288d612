"""Bytes of unknown encoding as a stream of text, in bounded memory."""

import codecs
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from charset_normalizer import from_bytes

from perplex_mono.ingestion.readers.page_builder import clean

CHUNK_BYTES = 256 * 1024
SAMPLE_BYTES = 128 * 1024
LONGEST_LINE = 64 * 1024
"""Lines longer than this many characters are handed on in parts."""

_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_CANDIDATE_NAMES = """
    cp1252 cp1250 cp1251 cp1253 cp1254 cp1255 cp1256 cp1257 koi8_r mac_roman cp437 cp850
    shift_jis euc_jp iso2022_jp gb18030 big5 euc_kr
"""
_CANDIDATES = _CANDIDATE_NAMES.split()
_WESTERN = frozenset("äöüßÄÖÜéèêëàâáãçîïíìôóòõûùúñÉÈÊÀÂÁÇÎÍÔÓÚÑ¡¿«»„“”‘’…–—•€£§°©®²³½\xa0")
_FEW_HIGH_BYTES = 4
_BROKEN_SHARE = 0.1


def guess_encoding(sample: bytes) -> str:
    """A Python codec name for the text that begins with `sample`; look at `SAMPLE_BYTES` for a good guess.

    A byte order mark decides; then UTF-16 by its zero bytes; UTF-8 when it fits, or nearly (a few broken bytes among
    many good sequences); else the best of the common single- and double-byte encodings, Windows-1252 in doubt.
    """
    for bom, encoding in _BOMS:
        if sample.startswith(bom):
            return encoding
    even, odd = sample[0::2].count(0), sample[1::2].count(0)
    if even + odd > len(sample) // 4 and min(even, odd) <= max(even, odd) // 20:
        return "utf-16-be" if even > odd else "utf-16-le"
    if _fits_utf8(sample):
        return "utf-8"
    high = [byte for byte in sample if byte > 127]
    if len(high) < _FEW_HIGH_BYTES or set(bytes(high).decode("cp1252", "replace")) <= _WESTERN:
        return "cp1252"
    best = from_bytes(sample[:32_768], cp_isolation=_CANDIDATES).best()
    return best.encoding if best is not None else "cp1252"


def _fits_utf8(sample: bytes) -> bool:
    """Whether the sample is UTF-8 but for a few broken sequences (one may be cut off at its end)."""
    text = sample.decode("utf-8", "replace")
    broken = text.count("\ufffd") - (1 if text.endswith("\ufffd") else 0)
    good = len(re.findall("[^\0-\x7f\ufffd]", text))
    return broken == 0 or broken < good * _BROKEN_SHARE


def decode(data: bytes, declared: str | None = None) -> str:
    """All bytes as clean text; a declared encoding is used when it exists and fits, else it is guessed."""
    if declared:
        try:
            return clean(data.decode(declared))
        except (LookupError, ValueError):
            pass
    return clean(data.decode(guess_encoding(data[:SAMPLE_BYTES]), "replace"))


def text_chunks(path: str, encoding: str | None = None) -> Iterator[str]:
    """A file's clean text in chunks of about `CHUNK_BYTES`; undecodable bytes become U+FFFD."""
    with Path(path).open("rb") as file:
        if encoding is None:
            encoding = guess_encoding(file.read(SAMPLE_BYTES))
            file.seek(0)
        decoder = codecs.getincrementaldecoder(encoding)("replace")
        held = ""
        while data := file.read(CHUNK_BYTES):
            text = held + decoder.decode(data)
            held = "\r" if text.endswith("\r") else ""  # it may be half of a line end
            yield clean(text[: len(text) - len(held)])
        yield clean(held + decoder.decode(b"", final=True))


def lines_of(chunks: Iterable[str]) -> Iterator[str]:
    """Lines with their ends, each at most about `LONGEST_LINE` characters."""
    held = ""
    for chunk in chunks:
        lines = (held + chunk).splitlines(keepends=True) if chunk else []
        if not lines:
            continue
        held = "" if lines[-1].endswith("\n") else lines.pop()
        yield from lines
        while len(held) > LONGEST_LINE:
            yield held[:LONGEST_LINE]
            held = held[LONGEST_LINE:]
    if held:
        yield held
