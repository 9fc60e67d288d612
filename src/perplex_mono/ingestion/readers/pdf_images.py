"""PDF pages as pictures: which pages need OCR, and how they are drawn, for OCR and for people."""

import math

import pypdfium2 as pdfium
import pypdfium2.raw as pdfium_c
from PIL import Image

from perplex_mono.ingestion.pages import Page, PageImage
from perplex_mono.ingestion.readers.contract import ReaderLimits
from perplex_mono.ingestion.readers.images import hash_pixels

MAX_SIDE_PIXELS = 4000
POINTS_PER_INCH = 72
# A text layer is garbage when more of its characters than this have no meaning (no mapping, private use, control).
MAX_MEANINGLESS = 0.3
# Fewer characters than these over a page covered by images to this part are a stamp on a scan, not its text.
STAMP_CHARACTERS = 150
SCAN_COVERAGE = 0.5
# A page with next to no text says what it says in its pictures, whatever their size.
CAPTION_CHARACTERS = 20
FIGURE_COVERAGE = 0.01
MAX_OBJECTS = 2_000


def needs_ocr(page: pdfium.PdfPage, textpage: pdfium.PdfTextPage, characters: str) -> bool:
    """Whether the text layer is missing, garbage, or only a stamp on a scan."""
    visible = [character for character in characters if not character.isspace()]
    if not visible:
        return True
    meaningless = sum(map(_is_meaningless, visible))
    if meaningless > MAX_MEANINGLESS * len(visible):
        return True
    readable = len(visible) - meaningless
    if readable >= STAMP_CHARACTERS:
        return False
    return image_coverage(page) > (FIGURE_COVERAGE if readable < CAPTION_CHARACTERS else SCAN_COVERAGE)


def _is_meaningless(character: str) -> bool:
    code = ord(character)
    return code < 0x20 or 0x7F <= code < 0xA0 or 0xE000 <= code < 0xF900 or code == 0xFFFD or code >= 0xF0000


def image_coverage(page: pdfium.PdfPage) -> float:
    """Part of the page's area under images (summed, at most 1), forms included, over the first objects of the page."""
    left, bottom, right, top = page.get_bbox()
    covered = 0.0
    for count, item in enumerate(page.get_objects(max_depth=4)):
        if count >= MAX_OBJECTS:
            break
        if item.type != pdfium_c.FPDF_PAGEOBJ_IMAGE:
            continue
        x0, y0, x1, y1 = item.get_bounds()
        covered += max(min(x1, right) - max(x0, left), 0.0) * max(min(y1, top) - max(y0, bottom), 0.0)
    area = (right - left) * (top - bottom)
    return min(covered / area, 1.0) if area > 0 else 0.0


def image_page(page: pdfium.PdfPage, number: int, label: str, limits: ReaderLimits) -> PageImage | Page:
    """The page drawn for OCR; an empty `Page` when nothing is to be seen on it."""
    width, height = page.get_size()
    image = draw(page, limits.ocr_dpi / POINTS_PER_INCH, MAX_SIDE_PIXELS, limits)
    pixels = image.tobytes()
    content_hash = hash_pixels(image.width, image.height, pixels)
    if all(channel.getextrema() in ((0, 0), (255, 255)) for channel in image.split()):
        return Page(number=number, text="", width=width, height=height, label=label, content_hash=content_hash)
    return PageImage(
        number=number,
        width=image.width,
        height=image.height,
        pixels=pixels,
        page_width=width,
        page_height=height,
        content_hash=content_hash,
        label=label,
    )


def draw(page: pdfium.PdfPage, scale: float, max_side: int, limits: ReaderLimits) -> Image.Image:
    """The upright page in RGB, `scale` pixels a point, or less where the longer side or the pixel limit demand it."""
    width, height = page.get_size()
    if not (width > 0 and height > 0):
        raise pdfium.PdfiumError("the page has no area")
    scale = min(scale, max_side / max(width, height), math.sqrt(limits.max_image_pixels / (width * height)) * 0.99)
    bitmap = page.render(scale=scale, rev_byteorder=True, limit_image_cache=True)
    try:
        image: Image.Image = bitmap.to_pil().convert("RGB")
    finally:
        bitmap.close()
    return image
