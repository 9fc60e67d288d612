"""How deeply a JSON text is nested, without parsing it: a parser would have to recurse to find out."""

import asyncio
import re

_TOKENS = re.compile(rb'"(?:[^"\\]|\\.)*+"?|[\[{]|[\]}]', re.DOTALL)
THREAD_BYTES = 32 * 1024


async def is_too_deep(body: bytes, max_depth: int) -> bool:
    """Whether brackets nest deeper than `max_depth`; brackets in strings do not count."""
    if body.count(b"[") + body.count(b"{") <= max_depth:
        return False
    if len(body) < THREAD_BYTES:
        return _exceeds(body, max_depth)
    return await asyncio.to_thread(_exceeds, body, max_depth)


def _exceeds(body: bytes, max_depth: int) -> bool:
    depth = 0
    for token in _TOKENS.finditer(body):
        first = token.group()[:1]
        if first in b"[{":
            depth += 1
            if depth > max_depth:
                return True
        elif first in b"]}":
            depth -= 1
    return False
