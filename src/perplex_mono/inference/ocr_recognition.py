"""Turns the picture of one line of text into characters with a PP-OCR recognition model.

Each line runs at its own width: padding lines to a common width, as the models' own pipeline does, makes a line's text
depend on its neighbours and costs a third of the time.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from perplex_mono.inference.ocr_detection import Image

LINE_HEIGHT = 48
MAX_LINE_WIDTH = 3_200
_WIDTH_STEP = 8
_MIN_WIDTH = 32


@dataclass(frozen=True, slots=True)
class Reading:
    """The text of a line; for each character its confidence and where its middle lies, as a fraction of the line."""

    text: str
    confidences: tuple[float, ...]
    centres: tuple[float, ...]

    @property
    def confidence(self) -> float:
        """The mean over the characters, 0 for an empty line."""
        return sum(self.confidences) / len(self.confidences) if self.confidences else 0.0


class TextRecogniser:
    """One recognition model, safe to call from several threads."""

    def __init__(self, session: Any, characters: Sequence[str], *, batch_width: int, space_probability: float) -> None:
        """`characters` without blank and space; `batch_width` lines of equal width share a run."""
        self._session = session
        self._input = session.get_inputs()[0].name
        self._characters = ["", *characters, " "]
        self._batch_width = batch_width
        self._space_probability = space_probability

    def recognise(self, lines: Sequence[Image]) -> list[Reading]:
        """Read each line picture (BGR, text from left to right)."""
        readings: dict[int, Reading] = {}
        scaled = [_scale(line) for line in lines]
        for batch in self._batches(scaled):
            tensor = _tensor([scaled[index] for index in batch])
            for index, path in zip(batch, self._session.run(None, {self._input: tensor})[0], strict=True):
                share = scaled[index].shape[1] / tensor.shape[3]
                readings[index] = decode(path, self._characters, share, self._space_probability)
        return [readings[index] for index in range(len(lines))]

    def _batches(self, scaled: list[Image]) -> Iterator[list[int]]:
        by_width: dict[int, list[int]] = {}
        for index, line in enumerate(scaled):
            by_width.setdefault(_padded_width(line), []).append(index)
        for same in by_width.values():
            for start in range(0, len(same), self._batch_width):
                yield same[start : start + self._batch_width]


def decode(path: npt.NDArray[np.float32], characters: Sequence[str], share: float, space_probability: float) -> Reading:
    """Read the best path of a CTC output `(steps, characters)`; `share` is the part of the width that is not padding.

    Blank is index 0, space the last. Between two letters a space that lost to blank is restored if it had more than
    `space_probability`: on 7,200 gaps of receipts and pages this found half of the missed spaces and invented few.
    """
    best = path.argmax(axis=1)
    kept = best != 0
    kept[1:] &= best[1:] != best[:-1]
    steps = np.flatnonzero(kept)
    space = len(characters) - 1
    found: list[tuple[str, float, float]] = []
    for position, step in enumerate(steps):
        if position and best[step] != space and best[steps[position - 1]] != space:
            gap = path[steps[position - 1] + 1 : step, space]
            if gap.size and gap.max() > space_probability:
                found.append((" ", float(gap.max()), float(steps[position - 1] + 1 + gap.argmax())))
        found.append((characters[best[step]], float(path[step, best[step]]), float(step)))
    width = len(path) * share
    return _reading(found, width)


def _reading(found: list[tuple[str, float, float]], width: float) -> Reading:
    while found and found[0][0].isspace():
        found.pop(0)
    while found and found[-1][0].isspace():
        found.pop()
    found = [item for index, item in enumerate(found) if not (item[0].isspace() and found[index - 1][0].isspace())]
    # A dictionary entry is one character in almost every case; the rest share their place.
    spread = [(letter, sure, step) for text, sure, step in found for letter in text]
    return Reading(
        text="".join(letter for letter, _, _ in spread),
        confidences=tuple(sure for _, sure, _ in spread),
        centres=tuple(min(1.0, (step + 0.5) / width) for _, _, step in spread),
    )


def word_spans(reading: Reading) -> list[tuple[int, int, float, float]]:
    """Give `(start, end, left, right)` of each word: character offsets, and its extent as fractions of the line."""
    pitches = [second - first for first, second in pairwise(reading.centres)]
    half = (sorted(pitches)[len(pitches) // 2] if pitches else 1.0) / 2
    spans: list[tuple[int, int, float, float]] = []
    start = 0
    for word in reading.text.split(" "):
        end = start + len(word)
        if word:
            left, right = reading.centres[start] - half, reading.centres[end - 1] + half
            spans.append((start, end, max(0.0, left), min(1.0, right)))
        start = end + 1
    return spans


def _padded_width(line: Image) -> int:
    width: int = line.shape[1]
    return max(_MIN_WIDTH, math.ceil(width / _WIDTH_STEP) * _WIDTH_STEP)


def _scale(line: Image) -> Image:
    height, width = line.shape[:2]
    target = min(MAX_LINE_WIDTH, max(1, math.ceil(LINE_HEIGHT * width / height)))
    method = cv2.INTER_AREA if height > LINE_HEIGHT else cv2.INTER_CUBIC
    return cv2.resize(line, (target, LINE_HEIGHT), interpolation=method).astype(np.uint8, copy=False)


def _tensor(lines: list[Image]) -> npt.NDArray[np.float32]:
    tensor = np.zeros((len(lines), 3, LINE_HEIGHT, _padded_width(lines[0])), dtype=np.float32)
    for row, line in zip(tensor, lines, strict=True):
        row[:, :, : line.shape[1]] = line.transpose(2, 0, 1) / np.float32(127.5) - 1
    return tensor
