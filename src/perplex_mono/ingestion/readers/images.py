"""Images: every frame that is a page of its own, upright and in plain RGB, for OCR to read."""

import hashlib
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from PIL import Image, ImageOps, UnidentifiedImageError

from perplex_mono.errors import DocumentFailure
from perplex_mono.ingestion.pages import PageImage
from perplex_mono.ingestion.readers.contract import Opened, ReaderItem, ReaderLimits, ReadRequest

# Only these decoders may look at the bytes: Pillow has others, some of which start programs.
PILLOW_FORMATS = ("PNG", "JPEG", "TIFF", "WEBP", "BMP", "DIB", "GIF")
# What 16-bit and floating point modes are scaled from: the whole range of the type, or the range found in the image.
SIXTEEN_BIT_MODES = frozenset({"I;16", "I;16L", "I;16B", "I;16N"})


def read(request: ReadRequest) -> Iterator[ReaderItem]:
    """One `PageImage` a page of a TIFF; animations (GIF, WebP, PNG) give their first frame.

    Raises `DocumentFailure`: "too_large" past `limits.max_image_pixels`, "too_many_pages", "corrupt".
    """
    with image_failures(request.limits), Image.open(request.path, formats=PILLOW_FORMATS) as image:
        frame_count = count_pages(image, request.limits)
        yield Opened(request.media_type, frame_count)
        for number in range(1, frame_count + 1):
            if number in request.skip_pages:
                continue
            yield _page(load_page(image, number, request.limits), number)


def count_pages(image: Image.Image, limits: ReaderLimits) -> int:
    """Frames that are pages: all of a TIFF (counted only as far as allowed), else one."""
    if image.format != "TIFF":
        return 1
    frame_count: int = getattr(image, "n_frames", 1)
    if frame_count > limits.max_pages:
        raise DocumentFailure("too_many_pages", f"The image has {frame_count} pages; {limits.max_pages} are allowed.")
    return frame_count


def load_page(image: Image.Image, number: int, limits: ReaderLimits) -> Image.Image:
    """The page `number` (from 1) of an open image: decoded, turned upright, in RGB."""
    if number > 1:
        image.seek(number - 1)
    require_size(image.width, image.height, limits)
    image.load()
    return _rgb(ImageOps.exif_transpose(image))


def require_size(width: int, height: int, limits: ReaderLimits) -> None:
    """Raises `DocumentFailure("too_large")`, naming the limit, before any pixel is decoded."""
    if width * height > limits.max_image_pixels:
        allowed = f"{limits.max_image_pixels / 1_000_000:g} megapixels"
        raise DocumentFailure("too_large", f"The image has {width} x {height} pixels; {allowed} are allowed.")


@contextmanager
def image_failures(limits: ReaderLimits) -> Iterator[None]:
    """Turns what Pillow raises into `DocumentFailure`; its own bomb check is armed with our limit, as an error."""
    Image.MAX_IMAGE_PIXELS = limits.max_image_pixels
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            yield
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        allowed = f"{limits.max_image_pixels / 1_000_000:g} megapixels"
        raise DocumentFailure("too_large", f"The image is larger than the {allowed} allowed ({error}).") from error
    except UnidentifiedImageError as error:
        raise DocumentFailure("corrupt", "The image is damaged: no decoder recognises it.") from error
    except (SyntaxError, EOFError, ValueError, OverflowError, TypeError, IndexError, KeyError) as error:
        raise DocumentFailure("corrupt", f"The image is damaged ({error}).") from error
    except OSError as error:
        if error.errno is not None:
            raise
        raise DocumentFailure("corrupt", f"The image is damaged or cut short ({error}).") from error


def _page(image: Image.Image, number: int) -> PageImage:
    pixels = image.tobytes()
    return PageImage(
        number=number,
        width=image.width,
        height=image.height,
        pixels=pixels,
        page_width=float(image.width),
        page_height=float(image.height),
        content_hash=hash_pixels(image.width, image.height, pixels),
    )


def hash_pixels(width: int, height: int, pixels: bytes) -> str:
    """Identity of what an image shows."""
    return hashlib.blake2b(pixels, digest_size=16, salt=f"{width}x{height}".encode()[:16]).hexdigest()


def _rgb(image: Image.Image) -> Image.Image:
    """The image in RGB as a person sees it: 16 bits scaled to 8, transparency over white, palettes resolved."""
    if image.mode in SIXTEEN_BIT_MODES:
        image = image.point(lambda value: value / 256).convert("L")
    elif image.mode in ("I", "F"):
        image = _scaled_to_8_bit(image)
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        image = Image.new("RGBA", layer.size, "white")
        image.alpha_composite(layer)
    return image.convert("RGB")


def _scaled_to_8_bit(image: Image.Image) -> Image.Image:
    """32-bit and floating point grey: the range found becomes black to white."""
    low, high = image.getextrema()
    assert isinstance(low, int | float)
    assert isinstance(high, int | float)
    factor = 255.0 / (high - low) if high > low else 0.0
    return image.convert("F").point(lambda value: value * factor - low * factor).convert("L")
