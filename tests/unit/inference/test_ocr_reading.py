"""What becomes of the models' raw output: characters, spaces, words, boxes."""

import numpy as np
import numpy.typing as npt
import pytest

from perplex_mono.inference.ocr import Box, Rotation
from perplex_mono.inference.ocr_detection import MAX_PIXELS, detection_size
from perplex_mono.inference.ocr_geometry import build_page, upright_box
from perplex_mono.inference.ocr_orientation import cut, find_rotation, turn
from perplex_mono.inference.ocr_recognition import Reading, decode, word_spans

CHARACTERS = ["", "a", "b", "c", " "]
BLANK, A, B, C, SPACE = range(5)


def path_of(*steps: int, space_at: dict[int, float] | None = None) -> npt.NDArray[np.float32]:
    path = np.full((len(steps), len(CHARACTERS)), 0.01, dtype=np.float32)
    for row, index in enumerate(steps):
        path[row, index] = 0.9
    for row, probability in (space_at or {}).items():
        path[row, SPACE] = probability
    return path


def quads(*corners: tuple[float, float, float, float]) -> npt.NDArray[np.float32]:
    return np.array([[[x0, y0], [x1, y0], [x1, y1], [x0, y1]] for x0, y0, x1, y1 in corners], dtype=np.float32)


def test_repeats_collapse_unless_a_blank_parts_them() -> None:
    assert decode(path_of(A, A, BLANK, A, B, B), CHARACTERS, 1.0, 0.15).text == "aab"


def test_a_space_that_lost_narrowly_to_blank_is_restored() -> None:
    steps = (A, BLANK, BLANK, B)
    assert decode(path_of(*steps, space_at={2: 0.4}), CHARACTERS, 1.0, 0.15).text == "a b"
    assert decode(path_of(*steps, space_at={2: 0.05}), CHARACTERS, 1.0, 0.15).text == "ab"


def test_a_space_the_model_did_see_is_not_doubled() -> None:
    path = path_of(A, BLANK, SPACE, BLANK, B, space_at={1: 0.4, 3: 0.4})
    assert decode(path, CHARACTERS, 1.0, 0.15).text == "a b"


def test_a_line_has_no_space_at_its_ends() -> None:
    reading = decode(path_of(SPACE, A, SPACE), CHARACTERS, 1.0, 0.15)
    assert reading.text == "a"
    assert len(reading.confidences) == len(reading.centres) == 1


def test_characters_lie_where_the_model_saw_them_padding_left_out() -> None:
    reading = decode(path_of(A, BLANK, BLANK, B, BLANK, BLANK, BLANK, BLANK), CHARACTERS, 0.5, 0.15)
    assert reading.centres == pytest.approx((0.125, 0.875))


def test_words_cover_their_characters_and_no_others() -> None:
    reading = Reading("ab c", (0.9, 0.8, 0.7, 0.6), (0.1, 0.3, 0.5, 0.7))
    (first, second) = word_spans(reading)
    assert first == pytest.approx((0, 2, 0.0, 0.4))
    assert second == pytest.approx((3, 4, 0.6, 0.8))


@pytest.mark.parametrize(
    ("rotation", "expected"),
    [
        (0, Box(0.1, 0.2, 0.3, 0.6)),
        (90, Box(0.4, 0.1, 0.8, 0.3)),
        (180, Box(0.7, 0.4, 0.9, 0.8)),
        (270, Box(0.2, 0.7, 0.6, 0.9)),
    ],
)
def test_boxes_turn_with_the_page(rotation: Rotation, expected: Box) -> None:
    box = upright_box(quads((20, 20, 60, 60))[0], rotation, 200, 100)
    assert (box.x0, box.y0, box.x1, box.y1) == pytest.approx((expected.x0, expected.y0, expected.x1, expected.y1))


def test_cutting_a_turned_line_gives_the_upright_picture() -> None:
    upright = np.zeros((40, 120, 3), dtype=np.uint8)
    upright[10:20, 20:40] = 255  # a mark at the left end of the line
    sideways = np.ascontiguousarray(np.rot90(upright))  # counter-clockwise: 90 degrees clockwise makes it upright
    line = cut(sideways, turn(quads((0, 0, 40, 120)), 90)[0])
    assert line.shape == (40, 120, 3)
    assert line[15, 30, 0] == 255
    assert line[15, 100, 0] == 0


def test_a_margin_shows_what_stands_above_and_below_the_line() -> None:
    page = np.zeros((100, 200, 3), dtype=np.uint8)
    page[34:40] = 255
    line = quads((0, 40, 200, 60))[0]
    assert cut(page, line)[0].max() == 0
    enlarged = cut(page, line, 0.1)
    assert enlarged.shape == (24, 200, 3)
    assert enlarged[0].min() == 255


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_the_direction_that_reads_best_is_upright(rotation: Rotation) -> None:
    across = rotation in (0, 180)
    lines = quads(*[(10, y, 400, y + 20) if across else (y, 10, y + 20, 400) for y in range(10, 400, 40)])
    right_way_up = turn(lines, rotation)

    def read(turned: npt.NDArray[np.float32], chosen: object) -> list[Reading]:
        sure = 0.95 if np.array_equal(turned, right_way_up) else 0.55
        return [Reading("word", (sure,) * 4, (0.1, 0.3, 0.5, 0.7)) for _ in range(5)]

    found, sample = find_rotation(lines, read)
    assert found == rotation
    assert len(sample) == 5


def test_a_page_of_one_letter_is_not_turned_on_its_side() -> None:
    letter = quads((100, 100, 110, 140))

    def read(turned: npt.NDArray[np.float32], chosen: object) -> list[Reading]:
        sure = 0.95 if np.array_equal(turned, letter) else 0.3
        return [Reading("1", (sure,), (0.5,))]

    assert find_rotation(letter, read)[0] == 0


@pytest.mark.parametrize("size", [(800, 600), (6_000, 6_000), (100, 20_000), (20_000, 100), (1, 1), (3_312, 2_550)])
def test_the_model_never_sees_more_pixels_than_memory_allows(size: tuple[int, int]) -> None:
    width, height = detection_size(*size)
    assert width % 32 == height % 32 == 0
    assert 32 * 32 <= width * height <= MAX_PIXELS * 1.1


def test_lines_without_text_are_left_out_and_confidence_counts_characters() -> None:
    corners = quads((0, 0, 100, 10), (0, 20, 100, 30))
    page = build_page(
        [(corners[0], Reading("", (), ())), (corners[1], Reading("ab", (0.5, 0.7), (0.2, 0.8)))], 0, 100, 100
    )
    assert [line.text for line in page.lines] == ["ab"]
    assert page.confidence == pytest.approx(0.6)
    assert page.lines[0].words[0].box.y0 == pytest.approx(0.2)
