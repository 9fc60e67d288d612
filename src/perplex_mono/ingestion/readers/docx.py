"""Word documents, streamed: the body is walked element by element, so memory does not grow with its length.

python-docx builds the tree of the whole body and reads no tracked changes, text boxes or list numbers; see
docs/decisions/001-document-readers.md.
"""

import posixpath
from collections.abc import Iterable, Iterator
from typing import Any

from lxml import etree

from perplex_mono.ingestion.readers.archive import Package, open_package
from perplex_mono.ingestion.readers.contract import Opened, ReaderItem, ReadRequest
from perplex_mono.ingestion.readers.damage import reported_as_corrupt
from perplex_mono.ingestion.readers.docx_styles import Numbering, Styles, W, integer, value
from perplex_mono.ingestion.readers.page_builder import PageWriter, Piece, heading, list_item, one_line, paragraph
from perplex_mono.ingestion.readers.tables import TableWriter
from perplex_mono.library.media_types import DOCX

_R = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}"
_MC = "{http://schemas.openxmlformats.org/markup-compatibility/2006}"
_M = "{http://schemas.openxmlformats.org/officeDocument/2006/math}"
_TRANSPARENT = frozenset(f"{W}{tag}" for tag in ("sdt", "sdtContent", "customXml", "ins", "moveTo"))
_CONTAINERS = frozenset(f"{W}{tag}" for tag in ("document", "body", "tbl")) | _TRANSPARENT
_NOT_SHOWN = frozenset(
    f"{W}{tag}" for tag in ("del", "moveFrom", "instrText", "delText", "delInstrText", "pPr", "sdtPr", "rubyPr", "rt")
) | {f"{_MC}Fallback"}
_FIXED_TEXT = {f"{W}tab": "\t", f"{W}br": "\n", f"{W}cr": "\n", f"{W}noBreakHyphen": "-", f"{W}ptab": "\t"}
_MAX_TABLE_DEPTH = 8
_MAX_SPAN = 100


def read(request: ReadRequest) -> Iterator[ReaderItem]:
    """Read a Word document as sections: headers, body with footnotes where they are called, footers."""
    with open_package(request.path, request.limits, "Word document") as package, reported_as_corrupt("a Word document"):
        package.check_parts()
        document = _Document(package)
        pages = PageWriter(request)
        yield Opened(DOCX, None)
        yield from pages.sections(document.pieces())
        pages.finish()


class _Document:
    """The parts of one Word file that its body refers to."""

    def __init__(self, package: Package) -> None:
        self._package = package
        self._main = _main_part(package)
        self._parts = _related_parts(package, self._main)
        self._styles = Styles(self._related_xml("styles"))
        self._numbering = Numbering(self._related_xml("numbering"))
        self._notes = self._note_texts("footnotes") | self._note_texts("endnotes")

    def pieces(self) -> Iterator[Piece]:
        """Everything a reader of the document sees, in order."""
        yield from self._margin_pieces("header")
        yield from self._body_pieces()
        yield from self._margin_pieces("footer")

    def _body_pieces(self) -> Iterator[Piece]:
        table: TableWriter | None = None
        depth = 0
        for event, element in self._package.steps(self._main, _CONTAINERS):
            if element.tag == f"{W}tbl":
                depth += 1 if event == "open" else -1
                if event == "close" and table is not None and depth == 0:
                    yield from table.finish()
                    table = None
            elif event == "leaf" and element.tag == f"{W}p":
                yield from self._paragraph(element)
            elif event == "leaf" and element.tag == f"{W}tblGrid" and depth == 1:
                table = TableWriter() if len(element) > 1 else None
            elif event == "leaf" and element.tag == f"{W}tr":
                if table is None:
                    yield from self._flow(_cells(element))
                else:
                    yield from table.add(self._row(element))

    def _flow(self, holders: Iterable[Any], depth: int = 0) -> Iterator[Piece]:
        """Paragraphs and tables inside cells of a layout table, a text box or a margin."""
        for holder in holders:
            for element in _block_children(holder):
                if element.tag == f"{W}p":
                    yield from self._paragraph(element)
                elif depth < _MAX_TABLE_DEPTH:
                    yield from self._nested_table(element, depth + 1)
                else:
                    yield paragraph(self._all_text(element))

    def _nested_table(self, element: Any, depth: int) -> Iterator[Piece]:
        rows = list(element.iterchildren(f"{W}tr"))
        if all(sum(1 for _ in _cells(row)) < 2 for row in rows):
            for row in rows:
                yield from self._flow(_cells(row), depth)
            return
        table = TableWriter()
        for row in rows:
            yield from table.add(self._row(row))
        yield from table.finish()

    def _row(self, row: Any) -> Iterator[str]:
        """Cell texts on the table's grid: spanned and continued cells are blank."""
        yield from [""] * min(integer(value(row.find(f"{W}trPr"), "gridBefore")) or 0, _MAX_SPAN)
        for cell in _cells(row):
            properties = cell.find(f"{W}tcPr")
            merge = properties.find(f"{W}vMerge") if properties is not None else None
            is_continued = merge is not None and merge.get(f"{W}val", "continue") == "continue"
            yield "" if is_continued else self._all_text(cell)
            span = integer(value(properties, "gridSpan")) or 1
            yield from [""] * (min(span, _MAX_SPAN) - 1)

    def _paragraph(self, element: Any) -> Iterator[Piece]:
        """The paragraph, then the text boxes anchored in it and the notes it calls."""
        text, boxes, notes = _inline(element)
        properties = element.find(f"{W}pPr")
        if one_line(text):
            yield self._piece(text, properties)
        for box in boxes:
            yield from self._flow([box])
        for note in notes:
            if note in self._notes:
                yield paragraph(f"[{note[1]}] {self._notes[note]}")

    def _piece(self, text: str, properties: Any | None) -> Piece:
        style = value(properties, "pStyle") or ""
        place = self._styles.list_place(style, properties)
        number = self._numbering.next_number(place) if place is not None else None
        level = self._styles.heading_level(style, properties)
        if level:
            return heading(text, level)
        return paragraph(text) if place is None else list_item(text, place.depth + 1, number)

    def _all_text(self, element: Any) -> str:
        """All text below an element on one line, as in a table cell."""
        parts: list[str] = []
        for found in element.iter(f"{W}p"):
            text, _, notes = _inline(found)
            if not _is_inside_hidden(found, element):
                parts.append(text)
                parts.extend(f"[{self._notes[note]}]" for note in notes if note in self._notes)
        return one_line(" ".join(parts))

    def _margin_pieces(self, kind: str) -> Iterator[Piece]:
        """Headers or footers, every text once; bare page numbers are left out."""
        told: set[str] = set()
        for name in sorted(self._parts.get(kind, ())):
            for piece in self._flow([self._package.xml(name)]):
                if piece.text not in told and not piece.text.isdigit():
                    told.add(piece.text)
                    yield piece

    def _note_texts(self, kind: str) -> dict[tuple[str, str], str]:
        root = self._related_xml(kind)
        notes = root.iterchildren() if root is not None else ()
        return {
            (kind, note.get(f"{W}id", "")): text
            for note in notes
            if (text := self._plain_note(note)) and note.get(f"{W}type") is None
        }

    def _plain_note(self, note: Any) -> str:
        return one_line(" ".join(_inline(found)[0] for found in note.iter(f"{W}p")))

    def _related_xml(self, kind: str) -> Any | None:
        names = self._parts.get(kind)
        return self._package.find_xml(names[0]) if names else None


def _main_part(package: Package) -> str:
    main = _related_parts(package, "").get("officeDocument")
    return main[0] if main else "word/document.xml"


def _related_parts(package: Package, source: str) -> dict[str, list[str]]:
    """Members that a part points at, by the last word of the relationship's type; external targets are ignored."""
    folder, name = posixpath.split(source)
    root = package.find_xml(posixpath.join(folder, "_rels", f"{name}.rels"))
    parts: dict[str, list[str]] = {}
    for relationship in root if root is not None else ():
        target = posixpath.normpath(posixpath.join("/", folder, relationship.get("Target", ""))).lstrip("/")
        if relationship.get("TargetMode") != "External" and target in package:
            parts.setdefault(relationship.get("Type", "").rpartition("/")[2], []).append(target)
    return parts


def _block_children(holder: Any) -> Iterator[Any]:
    """Paragraphs and tables directly in a holder, or in content controls there."""
    stack = list(reversed(holder))
    while stack:
        element = stack.pop()
        if element.tag in (f"{W}p", f"{W}tbl"):
            yield element
        elif element.tag in _TRANSPARENT:
            stack.extend(reversed(element))


def _cells(row: Any) -> Iterator[Any]:
    stack = list(reversed(row))
    while stack:
        element = stack.pop()
        if element.tag == f"{W}tc":
            yield element
        elif element.tag in _TRANSPARENT:
            stack.extend(reversed(element))


def _inline(element: Any) -> tuple[str, list[Any], list[tuple[str, str]]]:
    """A paragraph's visible text, the text boxes anchored in it, and the notes it calls as (kind, id)."""
    text: list[str] = []
    boxes: list[Any] = []
    notes: list[tuple[str, str]] = []
    walk = etree.iterwalk(element, events=("start",))
    for _, node in walk:
        tag = node.tag
        if tag in _NOT_SHOWN or (tag == f"{W}r" and _is_vanished(node)):
            walk.skip_subtree()
        elif tag == f"{W}txbxContent":
            boxes.append(node)
            walk.skip_subtree()
        elif tag in (f"{W}t", f"{_M}t"):
            text.append(node.text or "")
        elif tag in _FIXED_TEXT:
            text.append(_FIXED_TEXT[tag])
        elif tag in (f"{W}footnoteReference", f"{W}endnoteReference"):
            notes.append((f"{tag[len(W) : -len('Reference')]}s", node.get(f"{W}id", "")))
    return "".join(text), boxes, notes


def _is_vanished(run: Any) -> bool:
    vanish = run.find(f"{W}rPr/{W}vanish")
    return vanish is not None and vanish.get(f"{W}val", "true") not in ("0", "false", "off")


def _is_inside_hidden(element: Any, until: Any) -> bool:
    """Whether an ancestor below `until` is not shown (the fallback copy of a text box, a deletion)."""
    parent = element.getparent()
    while parent is not None and parent is not until:
        if parent.tag in _NOT_SHOWN:
            return True
        parent = parent.getparent()
    return False
