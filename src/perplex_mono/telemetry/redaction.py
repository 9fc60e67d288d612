"""Secrets stay out of logs: by the name they go by, and by the shapes they come in, wherever in a text that is.

Patterns are bounded everywhere, so that no text makes them slow; texts are cut before they are searched.
"""

import math
import re
from collections.abc import Mapping, Set
from typing import Any, Final

REDACTED: Final = "[redacted]"
MAX_TEXT_CHARS: Final = 4000
MAX_ITEMS: Final = 100
MAX_DEPTH: Final = 6

# Numbers of tokens are no secrets: max_tokens, token_count, and what tokenizers say.
_NAME: Final = (
    r"(?:pass(?:word|wd|phrase)|secret|token(?!s|_count|iz)|(?:api|access|private|signing|encryption)[_-]?key"
    r"|authorization|cookie|credential|session[_-]?id)"
)
_QUOTED: Final = r"""\\"[^"\\]*\\"|b?"(?:\\.|[^"\\])*"|b?'(?:\\.|[^'\\])*'"""
_SECRET_NAME = re.compile(_NAME, re.IGNORECASE)
_SHAPES: Final = (
    (
        re.compile(
            r"-----BEGIN [A-Z ]{0,20}PRIVATE KEY-----.*?(?:-----END [A-Z ]{0,20}PRIVATE KEY-----|\Z)", re.DOTALL
        ),
        "",
    ),
    (
        re.compile(r"((?:authorization|cookie)[\\\"']{0,2}\s{0,3}[:=]\s{0,3}[\\\"']{0,2})[^\r\n\"'\\]+", re.IGNORECASE),
        r"\1",
    ),
    (
        re.compile(
            rf"({_NAME}[\w-]{{0,40}}[\\\"']{{0,2}}\s{{0,3}}[:=]\s{{0,3}})(?:{_QUOTED}|[^\s&;,)\]}}\"']+)", re.IGNORECASE
        ),
        r"\1",
    ),
    (re.compile(r"([?&](?:key|code|sig|signature|auth|jwt|ticket)=)[^&\s\"'#]+", re.IGNORECASE), r"\1"),
    (re.compile(r"(://[^\s/:@]{0,100}:)[^\s/@]+(?=@)"), r"\1"),
    (re.compile(r"\b(bearer\s{1,3})[\w.~+/=-]{6,}", re.IGNORECASE), r"\1"),
    (re.compile(r"\b(Basic\s{1,3})(?=[A-Za-z]{0,80}[0-9+/=])[A-Za-z0-9+/]{6,}={0,2}"), r"\1"),
    (re.compile(r"\b(pm[akr]_)[\w.-]{20,}"), r"\1"),  # this product's own tokens and keys
    (re.compile(r"\beyJ[\w-]{5,}\.[\w-]{5,}\.[\w-]*"), ""),
)


def is_secret_name(name: str) -> bool:
    """Whether what goes by this name must not be shown."""
    return _SECRET_NAME.search(name) is not None


def redacted_text(text: str) -> str:
    """The text, cut to `MAX_TEXT_CHARS`, with `[redacted]` in place of what looks like a secret."""
    if len(text) > MAX_TEXT_CHARS:
        text = f"{text[:MAX_TEXT_CHARS]}... ({len(text)} characters)"
    for shape, kept in _SHAPES:
        text = shape.sub(kept + REDACTED, text)
    return text


def redacted(value: Any, name: str = "", depth: int = 0) -> Any:
    """The value as JSON can show it, without secrets, and no larger than a log line should be."""
    if is_secret_name(name):
        return REDACTED
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, Mapping) and depth < MAX_DEPTH:
        items = list(value.items())[:MAX_ITEMS]
        return {str(key): redacted(item, str(key), depth + 1) for key, item in items}
    if isinstance(value, (list, tuple, Set)) and depth < MAX_DEPTH:
        return [redacted(item, depth=depth + 1) for item in list(value)[:MAX_ITEMS]]
    return redacted_text(value if isinstance(value, str) else str(value))
