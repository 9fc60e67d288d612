"""PDF: pages with a usable text layer become text with boxes, the others images for OCR.

PDFium is native code and not thread-safe, so this runs in reader children only.
"""

import os
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import pypdfium2 as pdfium
import pypdfium2.raw as pdfium_c

from perplex_mono.errors import DocumentFailure
from perplex_mono.ingestion.pages import Page
from perplex_mono.ingestion.readers import pdf_images
from perplex_mono.ingestion.readers.contract import Opened, ReaderItem, ReadRequest
from perplex_mono.ingestion.readers.pdf_attachments import extract_attachments
from perplex_mono.ingestion.readers.pdf_layout import page_text
from perplex_mono.ingestion.readers.pdf_lines import TextLine, hash_lines
from perplex_mono.ingestion.readers.pdf_text import page_characters, page_geometry, text_lines

# Pages looked at to learn the size of running text, spread over the document.
SAMPLED_PAGES = 6
# After this no further page is sampled: the parent waits for the first page and gives up at some point.
SAMPLING_SECONDS = 5.0


def read(request: ReadRequest) -> Iterator[ReaderItem]:
    """Attachments, then the pages in order.

    Raises `DocumentFailure`: "encrypted", "corrupt" (also when no page at all can be loaded), "too_many_pages".
    """
    with open_document(request.path) as document:
        page_count = len(document)
        if page_count > request.limits.max_pages:
            allowed = request.limits.max_pages
            raise DocumentFailure("too_many_pages", f"The PDF has {page_count} pages; {allowed} are allowed.")
        attachments, warnings = extract_attachments(document, request)
        yield Opened(request.media_type, page_count, warnings)
        yield from attachments
        yield from _pages(document, request, page_count)


@contextmanager
def open_document(path: str) -> Iterator[pdfium.PdfDocument]:
    """An open PDF of at least one page. Raises `DocumentFailure("encrypted")` or ("corrupt")."""
    # The helper class reports a document of 0 pages with the error of an earlier one, so the handle is opened here.
    handle = pdfium_c.FPDF_LoadDocument(os.fsencode(path) + b"\0", None)
    if not handle:
        if pdfium_c.FPDF_GetLastError() in (pdfium_c.FPDF_ERR_PASSWORD, pdfium_c.FPDF_ERR_SECURITY):
            message = "The PDF is protected by a password. Save it without one and add it again."
            raise DocumentFailure("encrypted", message)
        raise DocumentFailure("corrupt", "The PDF is damaged and cannot be opened.")
    document = pdfium.PdfDocument(handle)
    try:
        if len(document) == 0:
            raise DocumentFailure("corrupt", "The PDF is damaged: it has no pages.")
        yield document
    finally:
        document.close()


@contextmanager
def open_page(document: pdfium.PdfDocument, index: int) -> Iterator[pdfium.PdfPage]:
    """A page (from 0), with what was filled into forms drawn into it. Raises `PdfiumError` when it cannot be loaded."""
    page = document[index]
    try:
        if _has_text_annotations(page):
            pdfium_c.FPDFPage_Flatten(page, pdfium_c.FLAT_NORMALDISPLAY)
        yield page
    finally:
        page.close()


def _pages(document: pdfium.PdfDocument, request: ReadRequest, page_count: int) -> Iterator[ReaderItem]:
    body_em = _body_em(document, page_count)
    damaged = 0
    for number in range(1, page_count + 1):
        if number in request.skip_pages:
            continue
        try:
            yield _page(document, request, number, body_em)
        except pdfium.PdfiumError as error:
            damaged += 1
            if damaged == page_count:
                raise DocumentFailure("corrupt", "The PDF is damaged: no page can be read.") from error
            yield Page(number=number, text="", warnings=["This page is damaged and could not be read."])


def _page(document: pdfium.PdfDocument, request: ReadRequest, number: int, body_em: float) -> ReaderItem:
    label = document.get_page_label(number - 1)
    with open_page(document, number - 1) as page:
        geometry = page_geometry(page)
        width, height = geometry.size
        textpage = page.get_textpage()
        try:
            characters = page_characters(textpage)
            if pdf_images.needs_ocr(page, textpage, characters):
                return pdf_images.image_page(page, number, label, request.limits)
            lines = text_lines(textpage, characters, geometry)
        finally:
            textpage.close()
    laid_out = page_text(lines, body_em, width, height)
    return Page(
        number=number,
        text=laid_out.text,
        blocks=laid_out.blocks,
        words=laid_out.words,
        width=width,
        height=height,
        label=label,
        content_hash=hash_lines(lines, width, height),
    )


def _has_text_annotations(page: pdfium.PdfPage) -> bool:
    """Whether form fields or free text lie over the page; they are not part of its text layer until drawn into it."""
    for index in range(pdfium_c.FPDFPage_GetAnnotCount(page)):
        annotation = pdfium_c.FPDFPage_GetAnnot(page, index)
        subtype = pdfium_c.FPDFAnnot_GetSubtype(annotation)
        pdfium_c.FPDFPage_CloseAnnot(annotation)
        if subtype in (pdfium_c.FPDF_ANNOT_WIDGET, pdfium_c.FPDF_ANNOT_FREETEXT):
            return True
    return False


def _body_em(document: pdfium.PdfDocument, page_count: int) -> float:
    """Size of running text: the commonest font size by characters, to half a point; 0 for a document without text."""
    sizes: Counter[float] = Counter()
    step = max(page_count / SAMPLED_PAGES, 1.0)
    deadline = time.monotonic() + SAMPLING_SECONDS
    for sample in range(min(SAMPLED_PAGES, page_count)):
        if time.monotonic() > deadline:
            break
        for line in _sampled_lines(document, int(sample * step)):
            sizes[round(line.em * 2) / 2] += sum(len(word.text) for word in line.words)
    return sizes.most_common(1)[0][0] if sizes else 0.0


def _sampled_lines(document: pdfium.PdfDocument, index: int) -> list[TextLine]:
    try:
        with open_page(document, index) as page:
            textpage = page.get_textpage()
            try:
                return text_lines(textpage, page_characters(textpage), page_geometry(page))
            finally:
                textpage.close()
    except pdfium.PdfiumError:
        return []
