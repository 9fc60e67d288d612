"""Names of documents, as files of any system bring them, made fit for a list, a terminal and a page."""

import re
import unicodedata

_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def clean_name(name: str, max_chars: int) -> str:
    """A name fit to show: no folders, control or direction characters; shortened in the middle, extension kept."""
    name = unicodedata.normalize("NFC", name.replace("\\", "/")).rsplit("/", 1)[-1]
    name = _UNPRINTABLE.sub("", name).strip()
    if not name.strip("."):
        return "unnamed"
    if len(name) <= max_chars:
        return name
    stem, dot, extension = name.rpartition(".")
    if not dot or len(extension) > 10:
        return name[: max_chars - 1] + "…"
    return stem[: max_chars - len(extension) - 2] + "…." + extension
