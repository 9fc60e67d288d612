"""JSON and JSON lines as readable "path: value" lines, one paragraph an object, streamed at any size and depth.

A tolerant tokeniser of our own, because the standard library needs the whole document in memory and recursion.
"""

import json
import re
from collections.abc import Iterable, Iterator

from perplex_mono.ingestion.readers.contract import Opened, ReaderItem, ReadRequest
from perplex_mono.ingestion.readers.decoding import text_chunks
from perplex_mono.ingestion.readers.page_builder import SECTION_CHARACTERS, PageWriter, Piece, paragraph
from perplex_mono.library.media_types import JSON, JSON_LINES

_TOKEN = re.compile(r'[\[\]{}:,]|"(?:[^"\\]|\\.)*"|[^\s\[\]{}:,"]+', re.DOTALL)
_DECODER = json.JSONDecoder(strict=False)
_LONGEST_TOKEN = 64 * 1024
_SHOWN_STEPS = 6


def read(request: ReadRequest) -> Iterator[ReaderItem]:
    """Read JSON as sections of "path: value" lines; broken JSON gives the text it has."""
    pages = PageWriter(request)
    yield Opened(JSON_LINES if request.media_type == JSON_LINES else JSON, None)
    yield from pages.sections(_paragraphs(_leaves(_tokens(text_chunks(request.path)))))
    pages.finish()


def _tokens(chunks: Iterable[str]) -> Iterator[str]:
    """Marks, strings with their quotes, and bare words; a string past `_LONGEST_TOKEN` comes in parts."""
    held = ""
    for chunk in chunks:
        text = held + chunk
        position = 0
        for found in _TOKEN.finditer(text):
            if found.end() == len(text) and found[0][-1] not in '[]{}:,"':
                break
            if text[position : found.start()].strip():
                break  # a string that is not closed in this chunk
            yield found[0]
            position = found.end()
        held = text[position:].lstrip()
        while len(held) > _LONGEST_TOKEN:
            part, held = held[:_LONGEST_TOKEN], held[_LONGEST_TOKEN:]
            if part.endswith("\\"):
                part, held = part[:-1], "\\" + held
            yield part if not part.startswith('"') else part + '"'
            held = '"' + held if part.startswith('"') else held
    if held:
        yield held


class _Level:
    """An open object (`index` None) or array, and the step to what is being read in it."""

    __slots__ = ("index", "key")

    def __init__(self, *, is_array: bool) -> None:
        self.index: int | None = 0 if is_array else None
        self.key = ""

    def step(self) -> str:
        return self.key if self.index is None else f"[{self.index}]"


def _leaves(symbols: Iterable[str]) -> Iterator[str | None]:
    """Lines "path: value", and None wherever an object ends."""
    levels: list[_Level] = []
    expects_key = False
    for symbol in symbols:
        if symbol in ("{", "["):
            levels.append(_Level(is_array=symbol == "["))
            expects_key = symbol == "{"
        elif symbol in ("}", "]"):
            if levels:
                levels.pop()
            if symbol == "}":
                yield None
            expects_key = False
        elif symbol == ",":
            if levels and levels[-1].index is not None:
                levels[-1].index += 1
            expects_key = bool(levels) and levels[-1].index is None
        elif symbol == ":":
            expects_key = False
        elif expects_key:
            levels[-1].key = _value(symbol)[:200]
        else:
            yield _line(levels, _value(symbol))


def _line(levels: list[_Level], value: str) -> str:
    path = ""
    for level in levels[-_SHOWN_STEPS:]:
        step = level.step()
        path += step if step.startswith("[") or not path else f".{step}"
    if len(levels) > _SHOWN_STEPS:
        path = f"…{path}"
    return f"{path}: {value}" if path else value


def _value(token: str) -> str:
    if not token.startswith('"'):
        return token
    if "\\" not in token:
        return token.strip('"')
    try:
        return str(_DECODER.decode(token))
    except ValueError:
        return token.strip('"')


def _paragraphs(leaves: Iterable[str | None]) -> Iterator[Piece]:
    held: list[str] = []
    size = 0
    for leaf in leaves:
        if held and (leaf is None or size > SECTION_CHARACTERS // 4):
            yield paragraph("\n".join(held))
            held, size = [], 0
        if leaf is not None:
            held.append(leaf)
            size += len(leaf)
    if held:
        yield paragraph("\n".join(held))
