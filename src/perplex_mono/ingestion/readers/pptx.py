"""PowerPoint presentations by python-pptx: a page a slide, with its tables, charts, diagrams and notes."""

from collections.abc import Iterator
from typing import Any

from pptx.enum.shapes import PP_PLACEHOLDER
from pptx.package import Package as PresentationPackage

from perplex_mono.ingestion.readers.archive import open_package, parse_xml
from perplex_mono.ingestion.readers.contract import Opened, ReaderItem, ReadRequest
from perplex_mono.ingestion.readers.damage import reported_as_corrupt
from perplex_mono.ingestion.readers.page_builder import PageWriter, Piece, heading, list_item, one_line, paragraph
from perplex_mono.ingestion.readers.tables import table
from perplex_mono.library.media_types import PPTX

_A = "{http://schemas.openxmlformats.org/drawingml/2006/main}"
_DIAGRAM = "{http://schemas.openxmlformats.org/drawingml/2006/diagram}relIds"
_R_DM = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}dm"
_TITLES = (PP_PLACEHOLDER.TITLE, PP_PLACEHOLDER.CENTER_TITLE, PP_PLACEHOLDER.VERTICAL_TITLE)
_REPEATED = (PP_PLACEHOLDER.SLIDE_NUMBER, PP_PLACEHOLDER.DATE, PP_PLACEHOLDER.FOOTER, PP_PLACEHOLDER.HEADER)
_BULLETED = (PP_PLACEHOLDER.BODY, PP_PLACEHOLDER.OBJECT, PP_PLACEHOLDER.VERTICAL_BODY, PP_PLACEHOLDER.VERTICAL_OBJECT)
_MAX_GROUP_DEPTH = 20
_MAX_CHART_POINTS = 200


def read(request: ReadRequest) -> Iterator[ReaderItem]:
    """Read a presentation; slides without text are pages too, so numbers are those that people see."""
    with open_package(request.path, request.limits, "PowerPoint presentation") as package:
        package.check_parts()
    with reported_as_corrupt("a PowerPoint presentation"):
        presentation = PresentationPackage.open(request.path).main_document_part.presentation
        pages = PageWriter(request)
        yield Opened(PPTX, len(presentation.slides))
        for slide in presentation.slides:
            title = _title(slide)
            yield from pages.page(_slide_pieces(slide), label=title)
        pages.finish()


def _title(slide: Any) -> str:
    shape = slide.shapes.title
    return one_line(shape.text_frame.text) if shape is not None else ""


def _slide_pieces(slide: Any) -> Iterator[Piece]:
    title = _title(slide)
    if title:
        yield heading(title, 1)
    for shape in _flat(slide.shapes):
        if not _has_role(shape, _TITLES) and not _has_role(shape, _REPEATED):
            yield from _shape_pieces(shape)
    if slide.has_notes_slide:
        frame = slide.notes_slide.notes_text_frame
        if frame is not None and one_line(frame.text):
            yield heading("Notes", 2)
            yield from (paragraph(_text(line)) for line in frame.paragraphs)


def _flat(shapes: Any) -> Iterator[Any]:
    """Shapes in drawing order, those of groups in the group's place."""
    stack = [(shape, 0) for shape in reversed(list(shapes))]
    while stack:
        shape, depth = stack.pop()
        inner = getattr(shape, "shapes", None)
        if inner is None:
            yield shape
        elif depth < _MAX_GROUP_DEPTH:
            stack.extend((child, depth + 1) for child in reversed(list(inner)))


def _has_role(shape: Any, roles: tuple[Any, ...]) -> bool:
    return bool(shape.is_placeholder) and shape.placeholder_format.type in roles


def _shape_pieces(shape: Any) -> Iterator[Piece]:
    if shape.has_text_frame:
        yield from _text_pieces(shape.text_frame, is_bulleted=_has_role(shape, _BULLETED))
    elif shape.has_table:
        yield from table(["" if cell.is_spanned else cell.text for cell in row.cells] for row in shape.table.rows)
    elif shape.has_chart:
        yield from _chart_pieces(shape.chart)
    else:
        yield from _diagram_pieces(shape)


def _text_pieces(frame: Any, *, is_bulleted: bool) -> Iterator[Piece]:
    """Paragraphs; list items where they carry a bullet or number, or stand in a placeholder that gives them one."""
    numbers: dict[int, int] = {}
    lines = [line for line in frame.paragraphs if _text(line).strip()]
    for line in lines:
        properties = line._p.pPr
        marks = {child.tag for child in properties} if properties is not None else set()
        depth = line.level + 1
        if f"{_A}buAutoNum" in marks:
            numbers = {at: count for at, count in numbers.items() if at <= depth}
            numbers[depth] = numbers.get(depth, 0) + 1
            yield list_item(_text(line), depth, numbers[depth])
        elif f"{_A}buChar" in marks or (is_bulleted and len(lines) > 1 and f"{_A}buNone" not in marks):
            yield list_item(_text(line), depth)
        else:
            yield paragraph(_text(line))


def _text(line: Any) -> str:
    return str(line.text).replace("\v", "\n")


def _chart_pieces(chart: Any) -> Iterator[Piece]:
    """The chart's title, and its numbers as a table of categories by series."""
    if chart.has_title and chart.chart_title.has_text_frame:
        yield paragraph(chart.chart_title.text_frame.text)
    for plot in chart.plots:
        series = list(plot.series)[:50]
        categories = [str(category) for category in plot.categories][:_MAX_CHART_POINTS]
        rows = [["", *(one.name for one in series)]]
        values = [list(one.values)[:_MAX_CHART_POINTS] for one in series]
        for index, category in enumerate(categories):
            rows.append([category, *(_number(column[index]) if index < len(column) else "" for column in values)])
        yield from table(rows)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.15g}"


def _diagram_pieces(shape: Any) -> Iterator[Piece]:
    """The words of a SmartArt diagram, which stand in a part of their own."""
    for relation in shape._element.iter(_DIAGRAM):
        part = shape.part.related_part(relation.get(_R_DM))
        for line in parse_xml(part.blob).iter(f"{_A}p"):
            text = one_line("".join(run.text or "" for run in line.iter(f"{_A}t")))
            if text:
                yield list_item(text, 1)
