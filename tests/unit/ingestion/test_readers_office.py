"""Office files give up their text and structure, and nothing that people do not see."""

import datetime as dt
from pathlib import Path
from typing import Any

import openpyxl
import pptx
import pytest
from pptx.chart.data import CategoryChartData
from pptx.enum.chart import XL_CHART_TYPE

from tests.unit.ingestion import reader_files as make

MARKDOWN_TABLE = "| Port | Ships | Note |\n| --- | --- | --- |\n| Bergen | 12 | fog |\n| Narvik | 7 | clear |"


def test_word_structure(tmp_path: Path) -> None:
    assert make.blocks_of(make.pages_of(make.word_file(tmp_path / "a.docx"))) == [
        ("paragraph", "Harbour office", 0),
        ("heading", "Arrivals", 1),
        ("paragraph", "Ships that came in.", 0),
        ("heading", "Winter", 2),
        ("list_item", "1. first", 1),
        ("list_item", "2. second", 1),
        ("list_item", "- bullet", 1),
        ("list_item", "- deeper", 1),
        ("table", MARKDOWN_TABLE, 0),
        ("paragraph", "Page footer", 0),
    ]


def run(text: str) -> str:
    return f"<w:r><w:t>{text}</w:t></w:r>"


def word_text(path: Path, body: str, parts: list[tuple[str, str]] | None = None) -> str:
    return "\n".join(page.text for page in make.pages_of(make.raw_word_file(path, body, parts or [])))


def test_deleted_and_hidden_words_are_left_out(tmp_path: Path) -> None:
    body = (
        f"<w:p>{run('kept')}<w:del><w:r><w:delText> deleted</w:delText></w:r></w:del>"
        f"<w:ins>{run(' inserted')}</w:ins><w:moveFrom>{run(' moved')}</w:moveFrom>"
        "<w:r><w:rPr><w:vanish/></w:rPr><w:t> hidden</w:t></w:r>"
        "<w:r><w:instrText> PAGEREF</w:instrText></w:r></w:p>"
    )
    assert word_text(tmp_path / "a.docx", body) == "kept inserted"


def test_a_text_box_is_read_once(tmp_path: Path) -> None:
    box = f"<w:txbxContent><w:p>{run('boxed')}</w:p></w:txbxContent>"
    mc = 'xmlns:mc="http://schemas.openxmlformats.org/markup-compatibility/2006"'
    body = (
        f"<w:p>{run('around')}<w:r><mc:AlternateContent {mc}><mc:Choice>{box}</mc:Choice>"
        f"<mc:Fallback>{box}</mc:Fallback></mc:AlternateContent></w:r></w:p>"
    )
    assert word_text(tmp_path / "a.docx", body) == "around\n\nboxed"


def test_tables_in_tables_spans_and_layout_tables(tmp_path: Path) -> None:
    grid = "<w:tblGrid><w:gridCol/><w:gridCol/></w:tblGrid>"
    inner = f"<w:tbl>{grid}<w:tr><w:tc><w:p>{run('in')}</w:p></w:tc><w:tc><w:p>{run('ner')}</w:p></w:tc></w:tr></w:tbl>"
    body = (
        f"<w:tbl>{grid}<w:tr><w:tc><w:tcPr><w:gridSpan w:val='2'/></w:tcPr><w:p>{run('wide')}</w:p></w:tc></w:tr>"
        f"<w:tr><w:tc>{inner}</w:tc><w:tc><w:p>{run('b')}</w:p></w:tc></w:tr>"
        f"<w:tr><w:tc><w:tcPr><w:vMerge/></w:tcPr><w:p>{run('never')}</w:p></w:tc><w:tc><w:p>{run('c')}</w:p></w:tc></w:tr>"
        "</w:tbl>"
        f"<w:tbl><w:tblGrid><w:gridCol/></w:tblGrid><w:tr><w:tc><w:p>{run('framed')}</w:p></w:tc></w:tr></w:tbl>"
    )
    assert word_text(tmp_path / "a.docx", body) == "wide\n\n| in ner | b |\n| --- | --- |\n|  | c |\n\nframed"


def test_footnotes_stand_where_they_are_called(tmp_path: Path) -> None:
    target = "http://schemas.openxmlformats.org/officeDocument/2006/relationships/footnotes"
    relations = f'<Relationships><Relationship Type="{target}" Target="footnotes.xml"/></Relationships>'
    notes = (
        f"<w:footnotes {make.W_NAMESPACE}><w:footnote w:id='3'><w:p>{run('the note')}</w:p></w:footnote></w:footnotes>"
    )
    body = f"<w:p>{run('said')}<w:r><w:footnoteReference w:id='3'/></w:r></w:p><w:p>{run('after')}</w:p>"
    parts = [("word/_rels/document.xml.rels", relations), ("word/footnotes.xml", notes)]
    assert word_text(tmp_path / "a.docx", body, parts) == "said\n\n[3] the note\n\nafter"


def test_slides_are_pages_with_titles_bullets_tables_groups_and_notes(tmp_path: Path) -> None:
    path = make.slides_file(tmp_path / "a.pptx")
    assert make.opened(make.read_file(path)).page_count == 3
    pages = make.pages_of(path)
    assert [(page.number, page.label) for page in pages] == [(1, "Arrivals"), (2, ""), (3, "The end")]
    assert make.blocks_of(pages[:1]) == [
        ("heading", "Arrivals", 1),
        ("list_item", "- bullet", 1),
        ("list_item", "- deeper", 2),
        ("table", MARKDOWN_TABLE, 0),
        ("paragraph", "inside a group", 0),
        ("heading", "Notes", 2),
        ("paragraph", "say hello", 0),
    ]


def test_a_chart_is_a_table(tmp_path: Path) -> None:
    deck = pptx.Presentation()
    slide = deck.slides.add_slide(deck.slide_layouts[6])
    numbers: Any = CategoryChartData()  # type: ignore[no-untyped-call]  # python-pptx types only its newer half
    numbers.categories = ["May", "June"]
    numbers.add_series("Ships", (3, 4.5))
    slide.shapes.add_chart(XL_CHART_TYPE.COLUMN_CLUSTERED, 0, 0, 9144, 9144, numbers)
    deck.save(str(tmp_path / "a.pptx"))
    (page,) = make.pages_of(tmp_path / "a.pptx")
    assert "| May | 3 |" in page.text
    assert "| June | 4.5 |" in page.text


def test_cells_show_what_people_see(tmp_path: Path) -> None:
    rows = [
        ("Day", "Ships", "Share", "Open", "When"),
        (dt.date(2025, 3, 1), 12.0, 0.1 + 0.2, True, dt.datetime(2025, 3, 1, 9, 30)),  # noqa: DTZ001 - Excel knows no zones
    ]
    (page,) = make.pages_of(make.workbook_file(tmp_path / "a.xlsx", [("Ports", rows)]))
    assert page.label == "Ports"
    assert page.text.splitlines()[-1] == "| 2025-03-01 | 12 | 0.3 | TRUE | 2025-03-01 09:30 |"


def test_percentages_and_hidden_sheets(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    book.active.append(["a", "b"])
    book.active.append(["x", 0.25])
    book.active["B2"].number_format = "0%"
    hidden = book.create_sheet("Secret")
    hidden.append(["secret"])
    hidden.sheet_state = "hidden"
    book.save(tmp_path / "a.xlsx")
    (page,) = make.pages_of(tmp_path / "a.xlsx")
    assert "| x | 25% |" in page.text
    assert "secret" not in page.text.lower()


def test_blank_rows_part_tables_and_a_title_stands_alone(tmp_path: Path) -> None:
    block = [("k", "v"), ("a", 1), ("b", 2), ("c", 3)]
    rows = [("Report",), (), *block, (), *block]
    (page,) = make.pages_of(make.workbook_file(tmp_path / "a.xlsx", [("S", rows)]))
    assert [kind for kind, _, _ in make.blocks_of([page])] == ["heading", "paragraph", "table", "table"]


def test_a_long_sheet_becomes_pages_under_one_header_and_sheets_are_counted(tmp_path: Path) -> None:
    rows = [("number", "text"), *((number, "x" * 40) for number in range(900))]
    path = make.workbook_file(tmp_path / "a.xlsx", [("Long", rows), ("Short", [("a", "b")])])
    pages = make.pages_of(path)
    assert make.opened(make.read_file(path)).page_count == len(pages)
    long_pages = [page for page in pages if page.label == "Long"]
    assert len(long_pages) > 2
    assert all("| number | text |" in page.text for page in long_pages)
    assert pages[-1].label == "Short"


def test_a_lying_dimension_does_not_hide_rows(tmp_path: Path) -> None:
    path = make.workbook_file(tmp_path / "a.xlsx", [("S", [("a", "b"), ("c", "d"), ("e", "far")])])
    make.rewrite_member(path, "xl/worksheets/sheet1.xml", b'ref="A1:B3"', b'ref="A1:A1"')
    assert "far" in make.pages_of(path)[0].text


def test_old_workbooks(tmp_path: Path) -> None:
    rows = [("Day", "Ships"), (dt.date(2025, 3, 1), 12), ("sum", 0.5)]
    (page,) = make.pages_of(make.old_workbook_file(tmp_path / "a.xls", "Ports", rows))
    assert page.label == "Ports"
    assert page.text == "Ports\n\n| Day | Ships |\n| --- | --- |\n| 2025-03-01 | 12 |\n| sum | 0.5 |"


def open_document_table(name: str = "T") -> str:
    rows = "".join(
        "<table:table-row>"
        + "".join(f"<table:table-cell><text:p>{cell}</text:p></table:table-cell>" for cell in row)
        + "</table:table-row>"
        for row in make.TABLE
    )
    return f'<table:table table:name="{name}">{rows}</table:table>'


def test_open_document_structure(tmp_path: Path) -> None:
    body = (
        "<text:tracked-changes><text:changed-region><text:p>deleted</text:p></text:changed-region>"
        "</text:tracked-changes>"
        '<text:h text:outline-level="2">Winter</text:h>'
        "<text:p>one<text:s text:c='1000000000'/>two<text:line-break/>three"
        "<text:note><text:note-citation>1</text:note-citation>"
        "<text:note-body><text:p>the note</text:p></text:note-body></text:note> end</text:p>"
        '<text:list text:style-name="L1"><text:list-item><text:p>first</text:p></text:list-item>'
        "<text:list-item><text:p>second</text:p><text:list><text:list-item><text:p>deeper</text:p></text:list-item></text:list>"
        "</text:list-item></text:list>" + open_document_table()
    )
    path = make.open_document_file(tmp_path / "a.odt", "text", body)
    assert make.blocks_of(make.pages_of(path)) == [
        ("heading", "Winter", 2),
        ("paragraph", "one two\nthree end", 0),
        ("paragraph", "the note", 0),
        ("list_item", "1. first", 1),
        ("list_item", "2. second", 1),
        ("list_item", "- deeper", 2),
        ("table", MARKDOWN_TABLE, 0),
    ]


def test_open_document_sheets_and_slides_are_pages(tmp_path: Path) -> None:
    sheets = make.open_document_file(
        tmp_path / "a.ods", "spreadsheet", open_document_table("North") + open_document_table("South")
    )
    assert [page.label for page in make.pages_of(sheets)] == ["North", "South"]
    body = (
        '<draw:page draw:name="one"><draw:frame presentation:class="title"><draw:text-box><text:p>Title</text:p>'
        '</draw:text-box></draw:frame></draw:page><draw:page draw:name="two"/>'
        '<draw:page draw:name="three"><draw:custom-shape><text:p>shape</text:p></draw:custom-shape></draw:page>'
    )
    slides = make.pages_of(make.open_document_file(tmp_path / "a.odp", "presentation", body))
    assert [(page.number, page.label, page.text) for page in slides] == [
        (1, "one", "Title"),
        (2, "two", ""),
        (3, "three", "shape"),
    ]


@pytest.mark.parametrize("repeats", ["number-rows-repeated", "number-columns-repeated"])
def test_repeated_blank_cells_cost_nothing(tmp_path: Path, repeats: str) -> None:
    blank = (
        f'<table:table-row table:{repeats}="99999999"><table:table-cell table:{repeats}="99999999"/></table:table-row>'
    )
    body = open_document_table().replace("</table:table>", f"{blank}</table:table>")
    (page,) = make.pages_of(make.open_document_file(tmp_path / "a.ods", "spreadsheet", body))
    assert page.text.endswith(MARKDOWN_TABLE)
