"""A page as a picture for people, with the places of a citation marked."""

import io

import pypdfium2 as pdfium
from PIL import Image, ImageChops

from perplex_mono.errors import DocumentFailure
from perplex_mono.ingestion.readers import images, pdf, pdf_images
from perplex_mono.ingestion.readers.registry import IMAGE_TYPES
from perplex_mono.ingestion.readers.wire import Box, RenderCommand
from perplex_mono.library.media_types import PDF

HIGHLIGHT = (255, 226, 92)
HIGHLIGHT_MARGIN_PIXELS = 2
# zlib level: a text page of 1,600 pixels takes a third of the time of the default level at a tenth more bytes.
PNG_COMPRESSION = 3


def render_page(command: RenderCommand) -> bytes:
    """The page as PNG, `max_side` pixels on its longer side (an image never enlarged), highlights marked as by a pen.

    Raises `DocumentFailure`: "unsupported" for other types, "corrupt" also when the file has no such page.
    """
    if command.media_type == PDF:
        picture = _pdf_page(command)
    elif command.media_type in IMAGE_TYPES:
        picture = _image_page(command)
    else:
        raise DocumentFailure("unsupported", f"Pages of the type {command.media_type} cannot be drawn.")
    for box in command.highlights:
        _mark(picture, box)
    target = io.BytesIO()
    picture.save(target, "PNG", compress_level=PNG_COMPRESSION)
    return target.getvalue()


def _pdf_page(command: RenderCommand) -> Image.Image:
    with pdf.open_document(command.path) as document:
        _require_page(command.page, len(document))
        try:
            with pdf.open_page(document, command.page - 1) as page:
                return pdf_images.draw(page, float("inf"), command.max_side, command.limits)
        except pdfium.PdfiumError as error:
            raise DocumentFailure("corrupt", f"Page {command.page} is damaged and cannot be drawn.") from error


def _image_page(command: RenderCommand) -> Image.Image:
    with images.image_failures(command.limits), Image.open(command.path, formats=images.PILLOW_FORMATS) as image:
        _require_page(command.page, images.count_pages(image, command.limits))
        picture = images.load_page(image, command.page, command.limits)
        picture.thumbnail((command.max_side, command.max_side))
        return picture


def _require_page(page: int, page_count: int) -> None:
    if not 1 <= page <= page_count:
        raise DocumentFailure("corrupt", f"The file has {page_count} pages, but no page {page}.")


def _mark(picture: Image.Image, box: Box) -> None:
    """Multiply the box with the highlight's colour: what is printed stays as dark as it was."""
    x0, x1 = sorted((box[0], box[2]))
    y0, y1 = sorted((box[1], box[3]))
    area = (
        max(int(x0 * picture.width) - HIGHLIGHT_MARGIN_PIXELS, 0),
        max(int(y0 * picture.height) - HIGHLIGHT_MARGIN_PIXELS, 0),
        min(int(x1 * picture.width) + HIGHLIGHT_MARGIN_PIXELS, picture.width),
        min(int(y1 * picture.height) + HIGHLIGHT_MARGIN_PIXELS, picture.height),
    )
    if area[0] < area[2] and area[1] < area[3]:
        part = picture.crop(area)
        picture.paste(ImageChops.multiply(part, Image.new("RGB", part.size, HIGHLIGHT)), area[:2])
