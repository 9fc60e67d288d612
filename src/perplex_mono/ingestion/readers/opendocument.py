"""OpenDocument text, spreadsheets and presentations, streamed from content.xml."""

from collections.abc import Iterator
from itertools import groupby
from typing import Any

from lxml import etree

from perplex_mono.errors import DocumentFailure
from perplex_mono.ingestion.pages import Page
from perplex_mono.ingestion.readers.archive import Package, open_package
from perplex_mono.ingestion.readers.contract import Opened, ReaderItem, ReadRequest
from perplex_mono.ingestion.readers.damage import reported_as_corrupt
from perplex_mono.ingestion.readers.page_builder import PageWriter, Piece, heading, list_item, one_line, paragraph
from perplex_mono.ingestion.readers.tables import TableWriter
from perplex_mono.library.media_types import ODP, ODS, ODT

_OFFICE = "{urn:oasis:names:tc:opendocument:xmlns:office:1.0}"
_TEXT = "{urn:oasis:names:tc:opendocument:xmlns:text:1.0}"
_TABLE = "{urn:oasis:names:tc:opendocument:xmlns:table:1.0}"
_DRAW = "{urn:oasis:names:tc:opendocument:xmlns:drawing:1.0}"
_PRESENTATION = "{urn:oasis:names:tc:opendocument:xmlns:presentation:1.0}"
_STYLE = "{urn:oasis:names:tc:opendocument:xmlns:style:1.0}"

_CONTAINERS = frozenset(
    [f"{_OFFICE}{tag}" for tag in ("document-content", "body", "text", "spreadsheet", "presentation")]
    + [f"{_TEXT}{tag}" for tag in ("list", "list-item", "list-header", "section", "index-body")]
    + [f"{_TABLE}{tag}" for tag in ("table", "table-row-group", "table-rows", "table-header-rows")]
    + [f"{_DRAW}{tag}" for tag in ("page", "g", "frame", "text-box", "custom-shape", "rect")]
    + [f"{_PRESENTATION}notes"]
)
_NOT_SHOWN = frozenset(
    [f"{_TEXT}{tag}" for tag in ("tracked-changes", "note-citation", "page-number", "bibliography-mark")]
    + [f"{_OFFICE}annotation", f"{_OFFICE}annotation-end", f"{_OFFICE}forms"]
)
_ANCHORED = (f"{_DRAW}text-box", f"{_TEXT}note-body")
_MAX_REPEATED = 100


def read(request: ReadRequest) -> Iterator[ReaderItem]:
    """Read an OpenDocument file: text as sections, sheets and slides as pages named after themselves."""
    with open_package(request.path, request.limits, "OpenDocument file") as package:
        package.check_parts()
        _refuse_encrypted(package)
        with reported_as_corrupt("an OpenDocument file"):
            pages = PageWriter(request)
            kind = _kind(package)
            yield Opened(kind, None)
            walk = _ContentWalk(package)
            if kind == ODT:
                yield from pages.sections(walk.pieces())
            else:
                yield from _part_pages(walk, pages, one_page_each=kind == ODP)
            pages.finish()


def _part_pages(walk: "_ContentWalk", pages: PageWriter, *, one_page_each: bool) -> Iterator[Page]:
    """Sheets and slides: while a piece is in hand, the walk knows which part it came from."""
    for (_, name), pieces in groupby(walk.pieces(), key=lambda _: walk.part):
        write = pages.page if one_page_each else pages.sections
        yield from write(pieces, label=name)


def _kind(package: Package) -> str:
    declared = package.read("mimetype").decode("ascii", "replace").strip() if "mimetype" in package else ODT
    kind = declared.removesuffix("-template")
    return kind if kind in (ODS, ODP) else ODT


def _refuse_encrypted(package: Package) -> None:
    manifest = package.find_xml("META-INF/manifest.xml")
    if manifest is not None and manifest.xpath("boolean(//*[local-name()='encryption-data'])"):
        raise DocumentFailure("encrypted", "The OpenDocument file is encrypted; save it without a password.")


class _List:
    """An open list: its style, inherited by lists inside it, and how many items it has had."""

    __slots__ = ("count", "style")

    def __init__(self, style: str) -> None:
        self.style = style
        self.count = 0


class _ContentWalk:
    """One pass over content.xml; `part` is the number and name of the sheet or slide being read."""

    def __init__(self, package: Package) -> None:
        self.part: tuple[int, str] = (0, "")
        self._package = package
        self._ordered: set[tuple[str, int]] = set()
        self._lists: list[_List] = []
        self._marker_due = False
        self._table: TableWriter | None = None
        self._table_depth = 0
        self._is_sheet = False
        self._in_title = False

    def pieces(self) -> Iterator[Piece]:
        """All pieces of the document, in reading order."""
        styles = self._package.find_xml("styles.xml")
        if styles is not None:
            self._learn_lists(styles)
        for event, element in self._package.steps("content.xml", _CONTAINERS):
            if event == "open":
                yield from self._open(element)
            elif event == "close":
                yield from self._close(element)
            elif element.tag == f"{_OFFICE}automatic-styles":
                self._learn_lists(element)
            elif element.tag not in _NOT_SHOWN:
                yield from self._leaf(element)

    def _learn_lists(self, root: Any) -> None:
        for style in root.iter(f"{_TEXT}list-style"):
            for level in style.iter(f"{_TEXT}list-level-style-number"):
                self._ordered.add((style.get(f"{_STYLE}name", ""), int(level.get(f"{_TEXT}level", "1"))))

    def _open(self, element: Any) -> Iterator[Piece]:
        if element.tag == f"{_TEXT}list":
            outer = self._lists[-1].style if self._lists else ""
            self._lists.append(_List(element.get(f"{_TEXT}style-name", outer)))
        elif element.tag == f"{_TEXT}list-item":
            self._marker_due = True
            self._lists[-1].count += 1
        elif element.tag == f"{_OFFICE}spreadsheet":
            self._is_sheet = True
        elif element.tag == f"{_TABLE}table":
            self._table_depth += 1
            self._table = TableWriter()
            if self._is_sheet:
                yield from self._new_part(element.get(f"{_TABLE}name", ""))
        elif element.tag == f"{_DRAW}page":
            yield from self._new_part(element.get(f"{_DRAW}name", ""))
        elif element.tag == f"{_DRAW}frame":
            self._in_title = element.get(f"{_PRESENTATION}class") == "title"
        elif element.tag == f"{_PRESENTATION}notes":
            yield heading("Notes", 2)

    def _new_part(self, name: str) -> Iterator[Piece]:
        """Start a sheet or slide; its name is a heading on sheets, slides have titles of their own."""
        self.part = (self.part[0] + 1, name)
        yield heading(name if self._is_sheet else "", 1)

    def _close(self, element: Any) -> Iterator[Piece]:
        if element.tag == f"{_TEXT}list":
            self._lists.pop()
            self._marker_due = False
        elif element.tag == f"{_DRAW}frame":
            self._in_title = False
        elif element.tag == f"{_TABLE}table" and self._table is not None:
            yield from self._table.finish()
            self._table_depth -= 1
            self._table = None

    def _leaf(self, element: Any) -> Iterator[Piece]:
        if element.tag == f"{_TABLE}table-row" and self._table is not None:
            for _ in range(min(_repeats(element, "number-rows-repeated"), _MAX_REPEATED)):
                yield from self._table.add(_row(element))
        elif element.tag in (f"{_TEXT}p", f"{_TEXT}h"):
            yield from self._paragraph(element)
        elif not element.tag.startswith((_TABLE, _STYLE)):
            for inner in element.iter(f"{_TEXT}p", f"{_TEXT}h"):
                yield from self._paragraph(inner)

    def _paragraph(self, element: Any) -> Iterator[Piece]:
        """The paragraph, then what is anchored in it: text boxes and notes."""
        text, anchored = _inline(element)
        if text.strip():
            yield self._piece(element, text)
        for holder in anchored:
            for inner in holder.iter(f"{_TEXT}p", f"{_TEXT}h"):
                yield paragraph(_inline(inner)[0])

    def _piece(self, element: Any, text: str) -> Piece:
        if element.tag == f"{_TEXT}h":
            level = element.get(f"{_TEXT}outline-level", "1")
            return heading(text, int(level) if level.isascii() and level.isdigit() else 1)
        if self._in_title:
            return heading(text, 1)
        if not self._lists or not self._marker_due:
            return paragraph(text)
        self._marker_due = False
        depth = len(self._lists)
        is_ordered = (self._lists[-1].style, depth) in self._ordered
        return list_item(text, depth, self._lists[-1].count if is_ordered else None)


def _row(row: Any) -> Iterator[str]:
    for cell in row.iter(f"{_TABLE}table-cell", f"{_TABLE}covered-table-cell"):
        if cell.getparent() is row:
            shown = "" if cell.tag == f"{_TABLE}covered-table-cell" else _cell_text(cell)
            yield from [shown] * min(_repeats(cell, "number-columns-repeated"), _MAX_REPEATED)


def _cell_text(cell: Any) -> str:
    date = cell.get(f"{_OFFICE}date-value")
    if date:
        return str(date).removesuffix("T00:00:00").replace("T", " ")
    return one_line(" ".join(_inline(found)[0] for found in cell.iter(f"{_TEXT}p", f"{_TEXT}h")))


def _repeats(element: Any, name: str) -> int:
    count = element.get(f"{_TABLE}{name}", "1")
    return int(count) if count.isascii() and count.isdigit() and len(count) < 9 else 1


def _inline(element: Any) -> tuple[str, list[Any]]:
    """A paragraph's visible text, and the text boxes and note bodies anchored in it."""
    parts: list[str] = []
    anchored: list[Any] = []
    walk = etree.iterwalk(element, events=("start", "end"))
    for event, node in walk:
        if event == "end":
            parts.append(_tail(node, element))
        elif node.tag in _NOT_SHOWN or node.tag in _ANCHORED:
            if node.tag in _ANCHORED:
                anchored.append(node)
            walk.skip_subtree()
            parts.append(_tail(node, element))  # a skipped node has no "end"
        elif node.tag == f"{_TEXT}line-break":
            parts.append("\n")
        elif node.tag == f"{_TEXT}tab":
            parts.append("\t")
        elif node.tag == f"{_TEXT}s":
            parts.append(" ")
        elif not str(node.tag).endswith(("}title", "}desc")):
            parts.append((node.text or "").replace("\n", " "))
    return "".join(parts), anchored


def _tail(node: Any, paragraph_element: Any) -> str:
    """The text after a node inside its paragraph; line ends of the source are only space."""
    return "" if node is paragraph_element else (node.tail or "").replace("\n", " ")
