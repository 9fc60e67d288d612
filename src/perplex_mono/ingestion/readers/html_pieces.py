"""HTML as a stream of pieces: libxml2 tokenises and repairs, this module keeps structure and drops what is not read.

No tree is built, so neither size nor depth of nesting costs memory, and nothing is fetched or run.
"""

from collections.abc import Iterable, Iterator, Mapping

from lxml import etree

from perplex_mono.ingestion.readers.page_builder import Piece, code, heading, list_item, one_line, paragraph
from perplex_mono.ingestion.readers.tables import TableWriter

_HEADINGS = {f"h{level}": level for level in range(1, 7)}
_DROPPED_NAMES = """
    script style noscript template svg math-ml iframe object embed canvas audio video map nav button select datalist
    option textarea dialog menu
"""
_BLOCK_NAMES = """
    address article aside blockquote body center dd details div dl dt fieldset figcaption figure footer form header
    hgroup hr html legend main p section summary ul ol li table caption thead tbody tfoot tr td th pre
    h1 h2 h3 h4 h5 h6
"""
_DROPPED = frozenset(_DROPPED_NAMES.split())
_BLOCKS = frozenset(_BLOCK_NAMES.split())
_HIDDEN_ROLES = frozenset({"navigation", "search", "menu", "menubar", "toolbar"})
_LONGEST_BLOCK = 16_000
_LINE_BREAK = "\x0b"  # stands for br among the line feeds of the source, which are only space
_MOST_SPAN = 100


class _Table:
    """A table being read; it turns into plain flow when it proves to be layout (holds another table)."""

    def __init__(self) -> None:
        self.writer = TableWriter()
        self.row: list[str] | None = None
        self.hanging: dict[int, int] = {}
        self.is_layout = False

    def open_row(self) -> None:
        self.row = []

    def close_row(self) -> Iterator[Piece]:
        if self.row is not None:
            self._fill_hanging()
            yield from self.writer.add(self.row)
            self.row = None

    def add_cell(self, text: str, column_span: int, row_span: int) -> None:
        if self.row is None:
            self.row = []
        self._fill_hanging()
        for column in range(column_span):
            if row_span > 1:
                self.hanging[len(self.row)] = row_span - 1
            self.row.append(text if column == 0 else "")

    def _fill_hanging(self) -> None:
        """Blank cells where a cell of an earlier row reaches down."""
        assert self.row is not None
        while self.hanging.get(len(self.row), 0) > 0:
            self.hanging[len(self.row)] -= 1
            self.row.append("")


class _Item:
    """A list item being read; only its first block carries the marker."""

    __slots__ = ("depth", "is_told", "number")

    def __init__(self, depth: int, number: int | None) -> None:
        self.depth = depth
        self.number = number
        self.is_told = False


class HtmlPieces:
    """Target of an lxml parser: collects finished pieces until `take` is called.

    `title` is the text of the page's title element, once met.
    """

    def __init__(self) -> None:
        self.title = ""
        self._ready: list[Piece] = []
        self._text: list[str] = []
        self._size = 0
        self._heading = 0
        self._pre = 0
        self._in_title = False
        self._skipping = 0
        self._items: list[_Item] = []
        self._lists: list[int | None] = []
        self._tables: list[_Table] = []
        self._spans: list[tuple[int, int]] = []

    def take(self) -> list[Piece]:
        """The pieces finished since the last call."""
        ready, self._ready = self._ready, []
        return ready

    def start(self, tag: str, attributes: Mapping[str, str]) -> None:
        if self._skipping or tag in _DROPPED or _is_hidden(attributes):
            self._skipping += 1
        elif tag == "title":
            self._in_title = True
        elif tag == "br":
            self._text.append(_LINE_BREAK)
        elif tag == "img":
            self._text.append(f" {attributes.get('alt', '')} ")
        elif tag in _BLOCKS:
            self._open_block(tag, attributes)

    def end(self, tag: str) -> None:
        if self._skipping:
            self._skipping -= 1
        elif tag == "title":
            self._in_title = False
        elif tag in _BLOCKS:
            self._close_block(tag)

    def data(self, text: str) -> None:
        if self._skipping:
            return
        if self._in_title:
            self.title = one_line(f"{self.title}{text}")[:500]
            return
        self._text.append(text)
        self._size += len(text)
        if self._size > _LONGEST_BLOCK:
            self._become_layout()
            self._flush()

    def comment(self, text: str) -> None:
        """Comments are not read."""

    def pi(self, target: str, data: str | None = None) -> None:
        """Processing instructions are not read."""

    def close(self) -> None:
        while self._tables:
            self._close_table()
        self._flush()

    def _in_cell(self) -> bool:
        return bool(self._spans)

    def _open_block(self, tag: str, attributes: Mapping[str, str]) -> None:
        if tag == "table" or tag in _HEADINGS:
            self._become_layout()
        if self._in_cell():
            self._text.append(" ")
        else:
            self._flush()
        if tag == "table":
            self._tables.append(_Table())
        elif tag == "tr" and self._tables and not self._tables[-1].is_layout:
            self._ready.extend(self._tables[-1].close_row())
            self._tables[-1].open_row()
        elif tag in ("td", "th") and self._tables and not self._tables[-1].is_layout:
            self._close_cell()
            self._spans.append((_span(attributes, "colspan"), _span(attributes, "rowspan")))
        elif tag in _HEADINGS:
            self._heading = _HEADINGS[tag]
        elif tag == "pre":
            self._pre += 1
        elif tag in ("ul", "ol"):
            self._lists.append(None if tag == "ul" else _start_number(attributes))
        elif tag == "li":
            self._open_item()

    def _close_block(self, tag: str) -> None:
        if tag in ("td", "th", "tr", "table"):
            self._close_cell()
        if self._in_cell():
            self._text.append(" ")
        else:
            self._flush()
        if tag == "tr" and self._tables:
            self._ready.extend(self._tables[-1].close_row())
        elif tag == "table" and self._tables:
            self._close_table()
        elif tag in _HEADINGS:
            self._heading = 0
        elif tag == "pre":
            self._pre = max(0, self._pre - 1)
        elif tag in ("ul", "ol") and self._lists:
            self._lists.pop()
        elif tag == "li" and self._items:
            self._items.pop()

    def _open_item(self) -> None:
        number = None
        if self._lists and self._lists[-1] is not None:
            number = self._lists[-1]
            self._lists[-1] = number + 1
        self._items.append(_Item(max(1, len(self._lists)), number))

    def _become_layout(self) -> None:
        """The tables around this place hold more than cells of text: what they hold flows like the rest."""
        for outer in reversed(self._tables):
            if outer.is_layout:
                break  # and so are all around it
            outer.is_layout = True
            self._ready.extend(outer.writer.finish())
            self._ready.extend(paragraph(cell) for cell in outer.row or () if cell)
            outer.row = None
        if self._spans:
            self._spans.clear()
            self._flush()

    def _close_cell(self) -> None:
        if self._spans and self._tables:
            column_span, row_span = self._spans.pop()
            self._tables[-1].add_cell(one_line(self._take_text()), column_span, row_span)

    def _close_table(self) -> None:
        self._close_cell()
        finished = self._tables.pop()
        self._ready.extend(finished.close_row())
        self._ready.extend(finished.writer.finish())

    def _take_text(self) -> str:
        text = "".join(self._text)
        self._text, self._size = [], 0
        return text

    def _flush(self) -> None:
        raw = self._take_text()
        if not raw.strip():
            return
        if self._pre:
            self._ready.append(code(raw))
            return
        text = "\n".join(filter(None, (one_line(line) for line in raw.split(_LINE_BREAK))))
        if self._heading:
            self._ready.append(heading(text, self._heading))
        elif self._items and not self._items[-1].is_told:
            item = self._items[-1]
            item.is_told = True
            self._ready.append(list_item(text, item.depth, item.number))
        else:
            self._ready.append(paragraph(text))


def html_pieces(chunks: Iterable[str]) -> Iterator[Piece]:
    """Pieces of an HTML document given as text; its title comes first when no heading of level 1 says the same."""
    target = HtmlPieces()
    parser = etree.HTMLParser(target=target, encoding="utf-8", huge_tree=True)
    told_title = False
    for chunk in chunks:
        if chunk:
            parser.feed(chunk.encode("utf-8", "replace"))
        ready = target.take()
        if ready and not told_title:
            told_title = True
            if target.title and not any(_same(piece, target.title) for piece in ready):
                yield heading(target.title, 1)
        yield from ready
    parser.close()
    ready = target.take()
    if not told_title and target.title and not any(_same(piece, target.title) for piece in ready):
        yield heading(target.title, 1)
    yield from ready


def _same(piece: Piece, title: str) -> bool:
    return piece.kind == "heading" and piece.text.casefold() == title.casefold()


def _is_hidden(attributes: Mapping[str, str]) -> bool:
    return bool(attributes) and (
        "hidden" in attributes
        or attributes.get("aria-hidden") == "true"
        or attributes.get("role") in _HIDDEN_ROLES
        or "display:none" in attributes.get("style", "").replace(" ", "").lower()
    )


def _span(attributes: Mapping[str, str], name: str) -> int:
    value = attributes.get(name, "1")
    return min(max(int(value), 1), _MOST_SPAN) if value.isascii() and value.isdigit() and len(value) < 8 else 1


def _start_number(attributes: Mapping[str, str]) -> int:
    value = attributes.get("start", "1")
    return int(value) if value.isascii() and value.isdigit() and len(value) < 8 else 1
