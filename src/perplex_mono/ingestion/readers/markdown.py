"""Markdown by markdown-it, section after section of the source, so that no file is parsed as a whole."""

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.token import Token

from perplex_mono.ingestion.readers.contract import Opened, ReaderItem, ReadRequest
from perplex_mono.ingestion.readers.damage import reported_as_corrupt
from perplex_mono.ingestion.readers.decoding import lines_of, text_chunks
from perplex_mono.ingestion.readers.html_pieces import html_pieces
from perplex_mono.ingestion.readers.page_builder import PageWriter, Piece, code, heading, list_item, paragraph
from perplex_mono.ingestion.readers.tables import TableWriter
from perplex_mono.library.media_types import MARKDOWN

SOURCE_CHARACTERS = 48_000
"""About how much source is parsed at once; some inputs cost quadratic time, so this is the bound on it."""

_LONGEST_FRONT_MATTER = 200


def read(request: ReadRequest) -> Iterator[ReaderItem]:
    """Read Markdown as sections: front matter, headings, lists, tables and code keep their kind."""
    pages = PageWriter(request)
    yield Opened(MARKDOWN, None)
    with reported_as_corrupt("Markdown", (RecursionError,)):
        yield from pages.sections(_pieces(lines_of(text_chunks(request.path))))
    pages.finish()


def _pieces(lines: Iterator[str]) -> Iterator[Piece]:
    parser = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    references: dict[str, Any] = {}
    front_matter, rest = _front_matter(lines)
    if front_matter:
        yield paragraph(front_matter)
    for source in _sources(rest):
        yield from _TokenWalk().pieces(parser.parse(source, references))


def _front_matter(lines: Iterator[str]) -> tuple[str, Iterator[str]]:
    """The YAML or TOML between two marks at the very beginning, and all lines after it."""
    taken: list[str] = []
    mark = ""
    for line in lines:
        taken.append(line)
        if len(taken) == 1:
            mark = line.strip()
            if mark not in ("---", "+++"):
                break
        elif line.strip() == mark:
            return "".join(taken[1:-1]), lines
        elif len(taken) > _LONGEST_FRONT_MATTER:
            break
    return "", chain(taken, lines)


def _sources(lines: Iterable[str]) -> Iterator[str]:
    """The source in parts that can be parsed alone: cut at headings, at blank lines, or inside long code."""
    held: list[str] = []
    size = 0
    fence = ""
    for line in lines:
        stripped = line.lstrip()
        may_cut = not fence and (line.startswith("#") or not stripped)
        if (may_cut and size > SOURCE_CHARACTERS // 2) or size > SOURCE_CHARACTERS:
            yield "".join(held)
            held, size = ([f"{fence}\n"] if fence else []), 0
        if fence and stripped.startswith(fence) and not stripped.strip().strip(fence[0]):
            fence = ""
        elif not fence and stripped.startswith(("```", "~~~")):
            fence = stripped[: len(stripped) - len(stripped.lstrip(stripped[0]))]
        held.append(line)
        size += len(line)
    if held:
        yield "".join(held)


class _TokenWalk:
    """Turns the flat tokens of one source part into pieces."""

    def __init__(self) -> None:
        self._lists: list[int | None] = []
        self._marker_due = False
        self._heading = 0
        self._table: TableWriter | None = None
        self._row: list[str] = []

    def pieces(self, tokens: list[Token]) -> Iterator[Piece]:
        for token in tokens:
            if token.type == "inline":
                yield from self._inline(_plain(token))
            elif token.type in ("fence", "code_block"):
                yield code(token.content)
            elif token.type == "html_block":
                yield from html_pieces([token.content])
            elif token.type.startswith(("table", "tr", "td", "th")):
                yield from self._table_token(token)
            else:
                self._structure(token)

    def _inline(self, text: str) -> Iterator[Piece]:
        if self._table is not None:
            self._row.append(text)
        elif self._heading:
            yield heading(text, self._heading)
        elif self._marker_due:
            self._marker_due = False
            yield list_item(text, len(self._lists), self._lists[-1])
        else:
            yield paragraph(text)

    def _structure(self, token: Token) -> None:
        if token.type == "heading_open":
            self._heading = int(token.tag[1])
        elif token.type == "heading_close":
            self._heading = 0
        elif token.type == "bullet_list_open":
            self._lists.append(None)
        elif token.type == "ordered_list_open":
            self._lists.append(int(token.attrs.get("start", 1)) - 1)
        elif token.type in ("bullet_list_close", "ordered_list_close"):
            self._lists.pop()
            self._marker_due = False
        elif token.type == "list_item_open":
            self._marker_due = True
            number = self._lists[-1]
            self._lists[-1] = None if number is None else number + 1

    def _table_token(self, token: Token) -> Iterator[Piece]:
        if token.type == "table_open":
            self._table = TableWriter()
        elif token.type == "tr_open":
            self._row = []
        elif self._table is not None and token.type == "tr_close":
            yield from self._table.add(self._row)
        elif self._table is not None and token.type == "table_close":
            yield from self._table.finish()
            self._table = None


def _plain(token: Token) -> str:
    """What a reader of the rendered page sees of an inline token; pictures by their description."""
    parts: list[str] = []
    for child in token.children or []:
        if child.type in ("text", "code_inline"):
            parts.append(child.content)
        elif child.type in ("softbreak", "hardbreak"):
            parts.append("\n")
        elif child.type == "image":
            parts.append(child.content)
        elif child.type == "html_inline" and child.content.lower().startswith("<br"):
            parts.append("\n")
    return "".join(parts)
