"""Images: upright, in RGB, within the pixel limit, whatever mode and trick the file uses."""

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from perplex_mono.errors import DocumentFailure
from perplex_mono.ingestion.pages import PageImage
from perplex_mono.ingestion.readers import images
from perplex_mono.ingestion.readers.contract import Opened, ReaderItem, ReaderLimits, ReadRequest
from tests import documents


def read(path: Path, limits: ReaderLimits | None = None, skip: frozenset[int] = frozenset()) -> list[ReaderItem]:
    request = ReadRequest(str(path), path.name, "image/any", str(path.parent), skip, limits or ReaderLimits())
    return list(images.read(request))


def only_image(path: Path) -> PageImage:
    opened, image = read(path)
    assert opened == Opened("image/any", 1)
    assert isinstance(image, PageImage)
    assert len(image.pixels) == image.width * image.height * 3
    return image


def pixel(image: PageImage, x: int, y: int) -> tuple[int, int, int]:
    start = (y * image.width + x) * 3
    red, green, blue = image.pixels[start : start + 3]
    return red, green, blue


def near(found: tuple[int, int, int], expected: tuple[int, int, int]) -> bool:
    return all(abs(one - other) <= 6 for one, other in zip(found, expected, strict=True))


@pytest.mark.parametrize("extension", ["png", "jpg", "tif", "webp", "bmp", "gif"])
def test_every_format_gives_its_pixels(tmp_path: Path, extension: str) -> None:
    path = tmp_path / f"a.{extension}"
    picture = Image.new("RGB", (60, 40), (200, 30, 40))
    picture.paste((20, 40, 180), (0, 20, 60, 40))
    picture.save(path)
    image = only_image(path)
    assert (image.width, image.height, image.page_width, image.page_height) == (60, 40, 60.0, 40.0)
    assert near(pixel(image, 30, 5), (200, 30, 40))
    assert near(pixel(image, 30, 35), (20, 40, 180))


def grey_16_bit() -> Image.Image:
    row = (32768).to_bytes(2, "little") * 5 + (65535).to_bytes(2, "little") * 5
    return Image.frombytes("I;16", (10, 10), row * 10)


def transparent() -> Image.Image:
    picture = Image.new("RGBA", (10, 10), (0, 0, 0, 0))
    picture.paste((128, 128, 128, 255), (0, 0, 5, 10))
    return picture


def palette_with_transparency() -> Image.Image:
    picture = Image.new("P", (10, 10), 1)
    picture.putpalette([128, 128, 128, 0, 0, 0])
    picture.paste(0, (0, 0, 5, 10))
    picture.info["transparency"] = 1
    return picture


def grey_with_alpha() -> Image.Image:
    return transparent().convert("LA")


def floating_point() -> Image.Image:
    picture = Image.new("F", (10, 10), 3.0)
    picture.paste(2.0, (0, 0, 5, 10))
    picture.putpixel((0, 9), 1.0)
    return picture


@pytest.mark.parametrize(
    ("make", "extension"),
    [
        (grey_16_bit, "png"),
        (grey_16_bit, "tif"),
        (transparent, "png"),
        (palette_with_transparency, "png"),
        (grey_with_alpha, "png"),
        (floating_point, "tif"),
    ],
)
def test_modes_other_than_rgb_look_as_they_do_to_a_person(
    tmp_path: Path, make: Callable[[], Image.Image], extension: str
) -> None:
    path = tmp_path / f"a.{extension}"
    make().save(path)
    image = only_image(path)
    assert near(pixel(image, 1, 1), (128, 128, 128))
    assert near(pixel(image, 8, 1), (255, 255, 255))


def test_cmyk_is_converted_to_the_colours_it_prints(tmp_path: Path) -> None:
    Image.new("CMYK", (16, 16), (0, 255, 255, 0)).save(tmp_path / "a.jpg", quality=95)
    assert near(pixel(only_image(tmp_path / "a.jpg"), 8, 8), (255, 0, 0))


@pytest.mark.parametrize(("orientation", "corner"), [(1, (0, 0)), (3, (59, 39)), (6, (39, 0)), (8, (0, 59))])
def test_the_camera_orientation_is_applied(tmp_path: Path, orientation: int, corner: tuple[int, int]) -> None:
    picture = Image.new("RGB", (60, 40), "white")
    picture.paste("black", (0, 0, 8, 8))
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture.save(tmp_path / "a.png", exif=exif)
    image = only_image(tmp_path / "a.png")
    assert (image.width > image.height) == (orientation in (1, 3))
    assert pixel(image, *corner) == (0, 0, 0)


def test_every_page_of_a_tiff_is_read_but_those_already_stored(tmp_path: Path) -> None:
    pages = [Image.new("L", (20, 20), shade) for shade in (10, 100, 200)]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    opened, *found = read(tmp_path / "a.tif", skip=frozenset({2}))
    assert opened == Opened("image/any", 3)
    assert [(image.number, image.pixels[0]) for image in found if isinstance(image, PageImage)] == [(1, 10), (3, 200)]
    with pytest.raises(DocumentFailure) as caught:
        read(tmp_path / "a.tif", ReaderLimits(max_pages=2))
    assert caught.value.code == "too_many_pages"


def test_an_animation_is_one_page(tmp_path: Path) -> None:
    frames = [Image.new("P", (20, 20), shade) for shade in range(50)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    only_image(tmp_path / "a.gif")


def test_the_hash_follows_what_is_seen(tmp_path: Path) -> None:
    one = documents.picture("one")
    one.save(tmp_path / "a.png", compress_level=1)
    one.save(tmp_path / "b.bmp")
    documents.picture("two").save(tmp_path / "c.png")
    hashes = [only_image(tmp_path / name).content_hash for name in ("a.png", "b.bmp", "c.png")]
    assert hashes[0] == hashes[1] != hashes[2]


@pytest.mark.parametrize("side", [6_400, 20_000])
def test_a_bomb_is_refused_by_its_header_naming_the_limit(tmp_path: Path, side: int) -> None:
    path = documents.bomb_png(tmp_path / "bomb.png", side, side)
    with pytest.raises(DocumentFailure) as caught:
        read(path)
    assert caught.value.code == "too_large"
    assert "40 megapixels" in str(caught.value)


@pytest.mark.parametrize("extension", ["png", "jpg", "tif", "webp", "bmp", "gif"])
@pytest.mark.parametrize("kept", [0.5, 0.05])
def test_a_truncated_image_is_corrupt(tmp_path: Path, extension: str, kept: float) -> None:
    path = tmp_path / f"a.{extension}"
    documents.picture("words " * 20, (600, 400)).effect_spread(30).save(path)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * kept)])
    with pytest.raises(DocumentFailure) as caught:
        read(path)
    assert caught.value.code == "corrupt"
