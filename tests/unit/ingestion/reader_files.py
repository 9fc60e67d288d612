"""Files with a known structure, made by code: what the reader tests read."""

import zipfile
from collections.abc import Sequence
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import docx
import openpyxl
import pptx
import xlwt

from perplex_mono.ingestion.pages import Attachment, Page
from perplex_mono.ingestion.readers.contract import Opened, ReaderItem, ReaderLimits, ReadRequest
from perplex_mono.ingestion.readers.registry import load_reader
from perplex_mono.library.media_types import detect

W_NAMESPACE = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
DOCX_TYPES = (
    '<Types><Override PartName="/word/document.xml" ContentType='
    '"application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml"/></Types>'
)
ODF_NAMESPACES = (
    'xmlns:office="urn:oasis:names:tc:opendocument:xmlns:office:1.0" '
    'xmlns:text="urn:oasis:names:tc:opendocument:xmlns:text:1.0" '
    'xmlns:table="urn:oasis:names:tc:opendocument:xmlns:table:1.0" '
    'xmlns:draw="urn:oasis:names:tc:opendocument:xmlns:drawing:1.0" '
    'xmlns:style="urn:oasis:names:tc:opendocument:xmlns:style:1.0" '
    'xmlns:presentation="urn:oasis:names:tc:opendocument:xmlns:presentation:1.0"'
)
TABLE = (("Port", "Ships", "Note"), ("Bergen", "12", "fog"), ("Narvik", "7", "clear"))


def read_file(
    path: Path, *, skip_pages: frozenset[int] = frozenset(), limits: ReaderLimits | None = None
) -> list[ReaderItem]:
    """Everything a file gives, read as the reader child reads it."""
    folder = path.parent / "attachments"
    folder.mkdir(exist_ok=True)
    media_type = detect(str(path), path.name)
    request = ReadRequest(
        path=str(path),
        name=path.name,
        media_type=media_type,
        attachments_dir=str(folder),
        skip_pages=skip_pages,
        limits=limits or ReaderLimits(),
    )
    return list(load_reader(media_type)(request))


def pages_of(path: Path, **options: Any) -> list[Page]:
    """The pages of a file, each with blocks that cover its text in order."""
    pages = [item for item in read_file(path, **options) if isinstance(item, Page)]
    for page in pages:
        check_blocks(page)
    return pages


def check_blocks(page: Page) -> None:
    """Blocks are in order, do not overlap, and leave out blank space only."""
    position = 0
    for block in page.blocks:
        assert position <= block.start < block.end <= len(page.text)
        assert not page.text[position : block.start].strip()
        position = block.end
    assert not page.text[position:].strip()


def blocks_of(pages: Sequence[Page]) -> list[tuple[str, str, int]]:
    """Kind, text and level of every block."""
    return [(block.kind, page.text[block.start : block.end], block.level) for page in pages for block in page.blocks]


def opened(items: Sequence[ReaderItem]) -> Opened:
    """The first item, which must be `Opened`."""
    assert isinstance(items[0], Opened)
    return items[0]


def attachments_of(items: Sequence[ReaderItem]) -> list[Attachment]:
    return [item for item in items if isinstance(item, Attachment)]


def text_file(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def zip_file(path: Path, members: Sequence[tuple[str, str | bytes]]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return path


def word_file(path: Path) -> Path:
    """Two headings, a numbered and a nested bullet list, a table, a header and a footer."""
    document = docx.Document()
    document.sections[0].header.paragraphs[0].text = "Harbour office"
    document.sections[0].footer.paragraphs[0].text = "Page footer"
    document.add_heading("Arrivals", 1)
    document.add_paragraph("Ships that came in.")
    document.add_heading("Winter", 2)
    document.add_paragraph("first", style="List Number")
    document.add_paragraph("second", style="List Number")
    document.add_paragraph("bullet", style="List Bullet")
    document.add_paragraph("deeper", style="List Bullet 2")
    table = document.add_table(rows=3, cols=3)
    for row, cells in zip(table.rows, TABLE, strict=True):
        for cell, text in zip(row.cells, cells, strict=True):
            cell.text = text
    document.save(str(path))
    return path


def raw_word_file(path: Path, body: str, parts: Sequence[tuple[str, str]] = ()) -> Path:
    """A minimal DOCX around the XML of a body."""
    document = f"<w:document {W_NAMESPACE}><w:body>{body}</w:body></w:document>"
    return zip_file(path, [("[Content_Types].xml", DOCX_TYPES), ("word/document.xml", document), *parts])


def slides_file(path: Path) -> Path:
    """A slide with title, bullets, a table in a group's company and notes; a blank slide; a slide of one line."""
    deck = pptx.Presentation()
    slide = deck.slides.add_slide(deck.slide_layouts[1])
    slide.shapes.title.text = "Arrivals"
    frame = slide.placeholders[1].text_frame
    frame.text = "bullet"
    deeper = frame.add_paragraph()
    deeper.text, deeper.level = "deeper", 1
    table = slide.shapes.add_table(3, 3, 0, 0, 914400, 914400).table
    for row, cells in enumerate(TABLE):
        for column, text in enumerate(cells):
            table.cell(row, column).text = text
    group = slide.shapes.add_group_shape()
    group.shapes.add_textbox(0, 0, 9144, 9144).text_frame.text = "inside a group"
    slide.notes_slide.notes_text_frame.text = "say hello"
    deck.slides.add_slide(deck.slide_layouts[6])
    deck.slides.add_slide(deck.slide_layouts[5]).shapes.title.text = "The end"
    deck.save(str(path))
    return path


def workbook_file(path: Path, sheets: Sequence[tuple[str, Sequence[Sequence[object]]]]) -> Path:
    book = openpyxl.Workbook()
    book.remove(book.active)
    for title, rows in sheets:
        sheet = book.create_sheet(title)
        for row in rows:
            sheet.append(list(row))
    book.save(str(path))
    return path


def old_workbook_file(path: Path, title: str, rows: Sequence[Sequence[object]]) -> Path:
    book = xlwt.Workbook()
    sheet = book.add_sheet(title)
    date_style = xlwt.easyxf(num_format_str="YYYY-MM-DD")
    for row, cells in enumerate(rows):
        for column, value in enumerate(cells):
            style = [date_style] if hasattr(value, "year") else []
            sheet.write(row, column, value, *style)
    book.save(str(path))
    return path


def open_document_file(path: Path, kind: str, body: str, parts: Sequence[tuple[str, str]] = ()) -> Path:
    """An OpenDocument file of a kind (text, spreadsheet, presentation) around the XML of its body."""
    content = (
        f"<office:document-content {ODF_NAMESPACES}><office:automatic-styles>"
        '<text:list-style style:name="L1"><text:list-level-style-number text:level="1"/></text:list-style>'
        f"</office:automatic-styles><office:body><office:{kind}>{body}</office:{kind}></office:body>"
        "</office:document-content>"
    )
    mimetype = f"application/vnd.oasis.opendocument.{kind}"
    return zip_file(path, [("mimetype", mimetype), ("content.xml", content), *parts])


def book_file(path: Path, chapters: Sequence[tuple[str, str]], extra: Sequence[tuple[str, str]] = ()) -> Path:
    """An EPUB whose chapters are (title, XHTML body); its spine runs against the order in the zip."""
    names = [f"c{number}.xhtml" for number in range(len(chapters))]
    items = "".join(
        f'<item id="i{n}" href="{name}" media-type="application/xhtml+xml"/>' for n, name in enumerate(names)
    )
    spine = "".join(f'<itemref idref="i{n}"/>' for n in range(len(chapters)))
    points = "".join(
        f'<navPoint><navLabel><text>{title}</text></navLabel><content src="{name}"/></navPoint>'
        for (title, _), name in zip(chapters, names, strict=True)
    )
    opf = (
        f'<package xmlns="http://www.idpf.org/2007/opf"><manifest>{items}'
        '<item id="ncx" href="toc.ncx" media-type="application/x-dtbncx+xml"/></manifest>'
        f'<spine toc="ncx">{spine}</spine></package>'
    )
    container = '<container><rootfiles><rootfile full-path="OPS/book.opf"/></rootfiles></container>'
    members = [
        (f"OPS/{name}", f"<html><body>{body}</body></html>") for (_, body), name in zip(chapters, names, strict=True)
    ]
    return zip_file(
        path,
        [
            ("mimetype", "application/epub+zip"),
            *reversed(members),
            ("META-INF/container.xml", container),
            ("OPS/book.opf", opf),
            ("OPS/toc.ncx", f"<ncx><navMap>{points}</navMap></ncx>"),
            *extra,
        ],
    )


def mail_file(path: Path, *, attachments: Sequence[tuple[str, bytes]] = ()) -> Path:
    """A message with a plain and an HTML form and the given attachments."""
    message = EmailMessage()
    message["From"] = "Keeper <keeper@example.org>"
    message["To"] = "Harbour <harbour@example.org>"
    message["Cc"] = "Pilot <pilot@example.org>"
    message["Date"] = "Sat, 01 Nov 2025 10:00:00 +0000"
    message["Subject"] = "Schöne Grüße"
    message.set_content("The light is lit.\n\nCome soon.")
    message.add_alternative("<p>The light is lit, in colour.</p>", subtype="html")
    for name, data in attachments:
        message.add_attachment(data, maintype="application", subtype="octet-stream", filename=name)
    path.write_bytes(message.as_bytes())
    return path


def rewrite_member(path: Path, name: str, old: bytes, new: bytes) -> None:
    """Replace bytes in one member of a zip container; they must be there."""
    with zipfile.ZipFile(path) as archive:
        members = [(entry, archive.read(entry)) for entry in archive.namelist()]
    assert any(entry == name and old in data for entry, data in members)
    zip_file(path, [(entry, data.replace(old, new) if entry == name else data) for entry, data in members])
