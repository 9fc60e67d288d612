"""Born-digital documents made by code: PDF, Word, web pages and Markdown with headings and paragraphs."""

import io
from collections.abc import Callable
from dataclasses import dataclass
from html import escape

from docx import Document as WordDocument
from fpdf import FPDF

from benchmarks.texts import Prose

PAGE_WORDS = 320
SECTION_WORDS = 160


@dataclass(frozen=True)
class Section:
    """A heading and what stands under it."""

    heading: str
    text: str


def mixed_documents(count: int, pages: int, seed: int) -> list[tuple[str, bytes]]:
    """Name and bytes of `count` documents of about `pages` pages each: three PDFs in five, else DOCX, HTML, Markdown.

    Another seed gives other texts, so that nothing of one set is known to whoever has read another.
    """
    prose = Prose(seed)
    made: list[tuple[str, bytes]] = []
    for number in range(count):
        kind, make = _KINDS[number % len(_KINDS)]
        sections = [Section(prose.title(), prose.paragraph(SECTION_WORDS)) for _ in range(pages * 2)]
        made.append((f"document-{seed}-{number}.{kind}", make(sections)))
    return made


def paged_pdf(pages: int, words: int, seed: int) -> bytes:
    """A PDF with a text layer of about `words` words on each of its pages."""
    prose = Prose(seed)
    pdf = _new_pdf()
    for _ in range(pages):
        pdf.add_page()
        pdf.multi_cell(w=450, h=14, text=prose.paragraph(words), align="L")
    return bytes(pdf.output())


def _pdf(sections: list[Section]) -> bytes:
    pdf = _new_pdf()
    for first in range(0, len(sections), 2):
        pdf.add_page()
        for section in sections[first : first + 2]:
            pdf.set_font("helvetica", style="B", size=14)
            pdf.multi_cell(w=450, h=20, text=section.heading, align="L", new_x="LMARGIN", new_y="NEXT")
            pdf.set_font("helvetica", size=10)
            pdf.multi_cell(w=450, h=13, text=section.text, align="L", new_x="LMARGIN", new_y="NEXT")
    return bytes(pdf.output())


def _docx(sections: list[Section]) -> bytes:
    document = WordDocument()
    for section in sections:
        document.add_heading(section.heading, level=1)
        document.add_paragraph(section.text)
    file = io.BytesIO()
    document.save(file)
    return file.getvalue()


def _html(sections: list[Section]) -> bytes:
    body = "\n".join(f"<h2>{escape(section.heading)}</h2>\n<p>{escape(section.text)}</p>" for section in sections)
    return f"<!DOCTYPE html>\n<html><head><title>Report</title></head><body>\n{body}\n</body></html>\n".encode()


def _markdown(sections: list[Section]) -> bytes:
    return "\n\n".join(f"## {section.heading}\n\n{section.text}" for section in sections).encode()


def _new_pdf() -> FPDF:
    pdf = FPDF(unit="pt", format="A4")
    pdf.set_auto_page_break(auto=False)
    pdf.set_font("helvetica", size=11)
    return pdf


_KINDS: tuple[tuple[str, Callable[[list[Section]], bytes]], ...] = (
    ("pdf", _pdf),
    ("docx", _docx),
    ("pdf", _pdf),
    ("html", _html),
    ("pdf", _pdf),
    ("md", _markdown),
    ("pdf", _pdf),
    ("docx", _docx),
    ("pdf", _pdf),
    ("pdf", _pdf),
)
