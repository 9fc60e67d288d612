"""Files embedded in a PDF, written out to become documents of their own."""

import ctypes

import pypdfium2 as pdfium
import pypdfium2.raw as pdfium_c

from perplex_mono.ingestion.pages import Attachment
from perplex_mono.ingestion.readers.attachments import AttachmentWriter, safe_name
from perplex_mono.ingestion.readers.contract import ReadRequest


def extract_attachments(document: pdfium.PdfDocument, request: ReadRequest) -> tuple[list[Attachment], list[str]]:
    """The embedded files, written within the limits, and a sentence on each that was left out."""
    writer = AttachmentWriter(request)
    attachments: list[Attachment] = []
    for index in range(min(document.count_attachments(), request.limits.max_attachments + 1)):
        embedded = document.get_attachment(index)
        name = embedded.get_name()
        if _size(embedded) > request.limits.max_attachment_bytes:
            writer.warnings.append(f"Attachment '{safe_name(name)}' was left out: it is too large.")
            continue
        try:
            data = bytes(embedded.get_data())
        except pdfium.PdfiumError:
            writer.warnings.append(f"Attachment '{safe_name(name)}' was left out: it is damaged.")
            continue
        attachment = writer.write(name, data)
        if attachment is not None:
            attachments.append(attachment)
    return attachments, writer.warnings


def _size(embedded: pdfium.PdfAttachment) -> int:
    size = ctypes.c_ulong()
    found = pdfium_c.FPDFAttachment_GetFile(embedded, None, 0, size)
    return size.value if found else 0
