"""Both OCR engines with their real models, on pages drawn here."""

import asyncio
import socket
from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial
from importlib.metadata import packages_distributions

import cv2
import pytest
import pytest_asyncio
from PIL import Image, ImageDraw, ImageFont

from perplex_mono.inference.ocr import OcrEngine, OcrPage, PageRaster
from perplex_mono.inference.ocr_engines import EngineName, open_ocr
from perplex_mono.inference.ocr_models import RAPIDOCR
from perplex_mono.inference.ocr_pool import PooledOcrEngine, ReaderSource
from perplex_mono.inference.ocr_rapid import PageReader

pytestmark = pytest.mark.asyncio(loop_scope="module")

ENGINES: tuple[EngineName, ...] = ("rapidocr", "rapidocr-onnxruntime")
LINES = (
    "The harbour master counted",
    "forty seven boats at noon,",
    "then closed the iron gates",
    "and walked home in the rain.",
)
WORDS = " ".join(LINES).split()


def drawn(lines: tuple[str, ...] = LINES, size: tuple[int, int] = (640, 420)) -> Image.Image:
    page = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(page)
    font = ImageFont.load_default(30)
    for row, text in enumerate(lines):
        draw.text((50, 60 + row * 60), text, fill="black", font=font)
    return page


def raster(page: Image.Image) -> PageRaster:
    return PageRaster(page.width, page.height, page.tobytes())


def words_of(page: OcrPage) -> list[str]:
    return " ".join(line.text for line in sorted(page.lines, key=lambda line: line.box.y0)).split()


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("OCR may not use the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest_asyncio.fixture(params=ENGINES, scope="module", loop_scope="module")
async def engine(request: pytest.FixtureRequest) -> AsyncIterator[OcrEngine]:
    if request.param == "rapidocr-onnxruntime":
        pytest.importorskip("rapidocr_onnxruntime", reason="the ocr-v4 extra is not installed")
    opened = open_ocr(request.param, threads=2)
    yield opened
    assert opened.name == request.param
    await opened.close()


async def test_english_keeps_its_spaces_whichever_way_up_the_page_is(engine: OcrEngine) -> None:
    turned = {angle: drawn().rotate(angle, expand=True) for angle in (0, 90, 180, 270)}  # counter-clockwise
    pages = await asyncio.gather(*(engine.recognise(raster(page)) for page in turned.values()))
    for angle, page in zip(turned, pages, strict=True):
        assert page.rotation == angle
        assert words_of(page) == WORDS
        assert page.confidence > 0.8


async def test_word_boxes_lie_on_their_words_on_a_turned_page(engine: OcrEngine) -> None:
    font = ImageFont.load_default(30)
    page = await engine.recognise(raster(drawn().rotate(270, expand=True)))
    for row, line in enumerate(sorted(page.lines, key=lambda line: line.box.y0)):
        assert line.text == LINES[row]
        for word in line.words:
            text = line.text[word.start : word.end]
            left = 50 + font.getlength(LINES[row][: word.start])
            assert word.box.x0 * 640 == pytest.approx(left, abs=14)
            assert word.box.x1 * 640 == pytest.approx(left + font.getlength(text), abs=14)
            assert 60 + row * 60 - 8 <= word.box.y0 * 420 < word.box.y1 * 420 <= 60 + row * 60 + 45
            assert word.confidence > 0.5


async def test_slight_skew_does_no_harm(engine: OcrEngine) -> None:
    page = await engine.recognise(raster(drawn().rotate(2, fillcolor="white", resample=Image.Resampling.BICUBIC)))
    assert page.rotation == 0
    assert words_of(page) == WORDS


async def test_a_page_s_text_does_not_depend_on_its_company(engine: OcrEngine) -> None:
    pages = [drawn(), drawn(LINES[:1]), drawn(LINES[2:], (500, 700))]
    alone = [await engine.recognise(raster(page)) for page in pages]
    together = await asyncio.gather(*(engine.recognise(raster(page)) for page in pages))
    assert [words_of(page) for page in together] == [words_of(page) for page in alone]


async def test_a_blank_page_is_empty_and_a_speck_harmless(engine: OcrEngine) -> None:
    blank = await engine.recognise(raster(Image.new("RGB", (300, 200), "white")))
    assert (blank.lines, blank.rotation, blank.confidence) == ((), 0, 0.0)
    await engine.recognise(PageRaster(1, 1, b"\xff\xff\xff"))


async def test_a_lone_upright_digit_is_read(engine: OcrEngine) -> None:
    if engine.name != "rapidocr":
        pytest.skip("the older detection model does not see a digit that stands alone")
    page = await engine.recognise(raster(drawn((*LINES, "4"))))
    assert words_of(page) == [*WORDS, "4"]


async def test_a_label_set_sideways_is_read_beside_upright_text(engine: OcrEngine) -> None:
    page = drawn()
    label = Image.new("RGB", (300, 44), "white")
    ImageDraw.Draw(label).text((10, 4), "margin remark", fill="black", font=ImageFont.load_default(30))
    page.paste(label.rotate(90, expand=True), (560, 60))
    read = await engine.recognise(raster(page))
    assert read.rotation == 0
    assert "margin remark" in [line.text for line in read.lines]


async def test_versions_tell_the_engines_apart_and_stay() -> None:
    versions = [open_ocr(name).version for name in ENGINES]
    assert versions[0].startswith("rapidocr-")
    assert versions[0] != versions[1]
    assert versions == [open_ocr(name).version for name in ENGINES]


async def test_a_package_that_is_not_there_leaves_the_other_to_answer() -> None:
    missing = replace(RAPIDOCR, engine="gone", package="no_such_ocr_package")
    sources = tuple(
        ReaderSource(files.engine, files.version(), partial(PageReader, files, threads=1, batch_width=6))
        for files in (missing, RAPIDOCR)
    )
    engine = PooledOcrEngine(sources, threads=1, max_queued_pages=4)
    assert words_of(await engine.recognise(raster(drawn()))) == WORDS
    assert (engine.name, engine.status().reason) == (
        "rapidocr",
        "gone did not start: no_such_ocr_package is not installed",
    )
    await engine.close()


async def test_unloading_frees_and_the_next_page_loads_again() -> None:
    engine = open_ocr("rapidocr", threads=1)
    await engine.recognise(raster(drawn()))
    await engine.unload()
    assert engine.status().state == "idle"
    assert words_of(await engine.recognise(raster(drawn()))) == WORDS
    assert engine.status().init_total == 2
    await engine.close()


async def test_there_is_one_opencv_and_it_is_headless() -> None:
    assert packages_distributions()["cv2"] == ["opencv-python-headless"]
    assert not hasattr(cv2, "imshow") or "GUI:                           NONE" in cv2.getBuildInformation()
