"""How recognised lines become a page: order, paragraphs, rows, offsets."""

import pytest

from perplex_mono.inference.fake_ocr import page_of
from perplex_mono.inference.ocr import Box, OcrLine, OcrPage, OcrWord, Rotation
from perplex_mono.ingestion.ocr_layout import page_from_ocr
from perplex_mono.ingestion.pages import Page, PageImage

IMAGE = PageImage(number=3, width=1_000, height=1_400, pixels=b"", content_hash="abc", label="iii")


def line(text: str, x0: float, y0: float, x1: float, *, height: float = 0.018, confidence: float = 0.9) -> OcrLine:
    words: list[OcrWord] = []
    pitch = (x1 - x0) / len(text)
    start = 0
    for part in text.split(" "):
        end = start + len(part)
        words.append(OcrWord(start, end, Box(x0 + start * pitch, y0, x0 + end * pitch, y0 + height), confidence))
        start = end + 1
    return OcrLine(text, confidence, Box(x0, y0, x1, y0 + height), tuple(words))


def page(*lines: OcrLine, rotation: Rotation = 0, min_confidence: float = 0.5) -> Page:
    result = OcrPage(lines=lines, rotation=rotation, confidence=0.9)
    return page_from_ocr(IMAGE, result, min_confidence=min_confidence)


def test_two_columns_of_prose_are_read_one_after_the_other() -> None:
    left = [line(f"left column row {n} runs", 0.05, 0.2 + n * 0.02, 0.47) for n in range(8)]
    right = [line(f"right column row {n} runs", 0.52, 0.205 + n * 0.02, 0.94) for n in range(8)]
    mixed = [each for pair in zip(right, left, strict=True) for each in pair]
    title = line("A title that spans both of the columns", 0.1, 0.1, 0.9)
    footer = line("A footer that spans both of the columns", 0.1, 0.5, 0.9)
    text = page(*mixed, footer, title).text
    found = [text.index(part) for part in ("A title", "left column row 0", "left column row 7", "right column row 0")]
    assert found == sorted(found)
    assert text.index("right column row 7") < text.index("A footer")


def test_amounts_stay_on_the_row_of_their_item() -> None:
    items = [
        "Teh tarik special",
        "Mee goreng with egg",
        "Roti canai plain one",
        "Nasi lemak set meal",
        "Total to be paid",
    ]
    lines = []
    for row, item in enumerate(items):
        top = 0.1 + row * 0.03
        lines += [line(f"{row}.50", 0.8, top + 0.004, 0.88), line(item, 0.1, top, 0.5)]
    assert page(*lines).text.splitlines() == [f"{item} {row}.50" for row, item in enumerate(items)]


def test_prose_flows_and_a_short_row_ends_the_line() -> None:
    result = page(
        line("The first row of a paragraph is full", 0.1, 0.1, 0.9),
        line("and ends here.", 0.1, 0.12, 0.4),
        line("Another sentence begins on its own row", 0.1, 0.14, 0.9),
    )
    expected = "The first row of a paragraph is full and ends here.\nAnother sentence begins on its own row"
    assert result.text == expected
    assert len(result.blocks) == 1


def test_a_gap_parts_blocks_which_cover_all_text() -> None:
    result = page(line("First block stands here", 0.1, 0.1, 0.5), line("Second block stands here", 0.1, 0.3, 0.5))
    spans = [result.text[block.start : block.end] for block in result.blocks]
    assert spans == ["First block stands here", "Second block stands here"]


def test_a_large_line_is_a_heading() -> None:
    body = [line(f"Body text of row number {n}", 0.1, 0.2 + n * 0.02, 0.6) for n in range(6)]
    result = page(line("Chapter One", 0.1, 0.1, 0.6, height=0.04), *body)
    assert [(block.kind, block.level) for block in result.blocks] == [("heading", 1), ("paragraph", 0)]


def test_every_word_points_at_its_own_text() -> None:
    result = page(
        line("One two", 0.1, 0.1, 0.4),
        line("three", 0.7, 0.1, 0.8),
        line("four five six", 0.1, 0.3, 0.6, confidence=0.7),
    )
    assert [result.text[word.start : word.end] for word in result.words] == [
        "One",
        "two",
        "three",
        "four",
        "five",
        "six",
    ]
    assert result.words[2].x0 == pytest.approx(0.7)
    assert result.words[3].confidence == pytest.approx(0.7)


def test_specks_are_dropped_by_confidence() -> None:
    lines = (line("Certain words here", 0.1, 0.1, 0.5), line("~;", 0.1, 0.4, 0.13, confidence=0.3))
    assert "~" not in page(*lines).text
    assert "~" in page(*lines, min_confidence=0.2).text


@pytest.mark.parametrize(("rotation", "size"), [(0, (1_000, 1_400)), (180, (1_000, 1_400)), (90, (1_400, 1_000))])
def test_size_is_that_of_the_upright_page(rotation: Rotation, size: tuple[int, int]) -> None:
    result = page(line("Any text at all", 0.1, 0.1, 0.5), rotation=rotation)
    assert (result.width, result.height) == size
    assert (result.number, result.source, result.content_hash, result.label) == (3, "ocr", "abc", "iii")


def test_page_size_in_points_wins_over_pixels() -> None:
    image = PageImage(number=1, width=1_000, height=1_400, pixels=b"", page_width=595, page_height=842)
    result = page_from_ocr(image, OcrPage(lines=(), rotation=270, confidence=0.0))
    assert (result.width, result.height) == (842, 595)


def test_a_blank_page_is_empty_text() -> None:
    result = page()
    assert (result.text, result.blocks, result.words, result.confidence) == ("", [], [], 0.0)


def test_rows_of_a_slightly_skewed_page_stay_rows() -> None:
    lines = []
    for row in range(6):
        top = 0.1 + row * 0.03
        lines += [
            line(f"item {row}", 0.1, top, 0.2),
            line("qty", 0.45, top + 0.005, 0.5),
            line("9.90", 0.8, top + 0.01, 0.9),
        ]
    assert page(*lines).text.splitlines() == [f"item {row} qty 9.90" for row in range(6)]


def test_the_fake_engine_s_pages_are_pages_too() -> None:
    assert page_from_ocr(IMAGE, page_of("alpha beta", "gamma")).text.split() == ["alpha", "beta", "gamma"]
