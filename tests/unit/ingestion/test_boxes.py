"""A span of text becomes few boxes that lie where its words are."""

from perplex_mono.ingestion.boxes import boxes_for
from perplex_mono.ingestion.pages import Page, Word


def page_of(rows: list[list[tuple[str, float, float]]], width: float = 600, height: float = 800) -> Page:
    """Lay out rows of `(word, x, y)`, each word 0.1 wide and 0.02 high."""
    text, words = "", []
    for row in rows:
        for word, x, y in row:
            words.append(Word(len(text), len(text) + len(word), x, y, round(x + 0.1, 4), round(y + 0.02, 4)))
            text += word + " "
    return Page(number=1, text=text, words=words, width=width, height=height)


def test_words_of_a_line_become_one_box_and_lines_stay_apart() -> None:
    page = page_of([[("one", 0.1, 0.1), ("two", 0.21, 0.1)], [("three", 0.1, 0.13), ("four", 0.21, 0.13)]])
    assert boxes_for(page, 0, len(page.text)) == [(0.1, 0.1, 0.31, 0.12), (0.1, 0.13, 0.31, 0.15)]


def test_only_words_that_touch_the_span_count() -> None:
    page = page_of([[("one", 0.1, 0.1), ("two", 0.21, 0.1), ("three", 0.32, 0.1)]])
    start = page.text.index("two")
    assert boxes_for(page, start, start + 3) == [(0.21, 0.1, 0.31, 0.12)]
    assert boxes_for(page, start + 1, start + 2) == [(0.21, 0.1, 0.31, 0.12)]
    assert boxes_for(page, start + 3, start + 4) == []


def test_columns_at_the_same_height_are_not_joined() -> None:
    page = page_of([[("left", 0.1, 0.1)], [("right", 0.6, 0.1)]])
    assert len(boxes_for(page, 0, len(page.text))) == 2


def test_lines_written_from_right_to_left_are_joined() -> None:
    page = page_of([[("first", 0.5, 0.1), ("second", 0.39, 0.1)]])
    assert boxes_for(page, 0, len(page.text)) == [(0.39, 0.1, 0.6, 0.12)]


def test_the_number_of_boxes_is_bounded_and_everything_stays_covered() -> None:
    page = page_of([[("w", 0.1, line / 300)] for line in range(250)])
    boxes = boxes_for(page, 0, len(page.text), max_boxes=10)
    assert len(boxes) <= 10
    assert boxes[0][1] == page.words[0].y0
    assert boxes[-1][3] == page.words[-1].y1


def test_a_page_without_positions_has_no_boxes() -> None:
    assert boxes_for(Page(number=1, text="plain"), 0, 5) == []
