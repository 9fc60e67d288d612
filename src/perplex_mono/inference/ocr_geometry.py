"""From corners in pixels of the image as given to boxes in fractions of the upright page."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from perplex_mono.inference.ocr import Box, OcrLine, OcrPage, OcrWord, Rotation
from perplex_mono.inference.ocr_detection import Quads
from perplex_mono.inference.ocr_recognition import Reading, word_spans


def build_page(readings: Sequence[tuple[Quads, Reading]], rotation: Rotation, width: int, height: int) -> OcrPage:
    """Put lines together; each quad begins at the top left corner of its own text. Lines without text are dropped."""
    lines = [_line(quad, reading, rotation, width, height) for quad, reading in readings if reading.text]
    sure = [confidence for _, reading in readings for confidence in reading.confidences]
    return OcrPage(
        lines=tuple(lines),
        rotation=rotation,
        confidence=min(1.0, sum(sure) / len(sure)) if sure else 0.0,
    )


def _line(quad: npt.NDArray[np.float32], reading: Reading, rotation: Rotation, width: int, height: int) -> OcrLine:
    words = [
        OcrWord(
            start=start,
            end=end,
            box=upright_box(_part(quad, left, right), rotation, width, height),
            confidence=min(1.0, sum(reading.confidences[start:end]) / (end - start)),
        )
        for start, end, left, right in word_spans(reading)
    ]
    box = upright_box(quad, rotation, width, height)
    return OcrLine(text=reading.text, confidence=min(1.0, reading.confidence), box=box, words=tuple(words))


def _part(quad: npt.NDArray[np.float32], left: float, right: float) -> npt.NDArray[np.float32]:
    """The corners of a stretch of the line, `left` and `right` being fractions of its length."""
    top, bottom = quad[1] - quad[0], quad[2] - quad[3]
    corners = [quad[0] + left * top, quad[0] + right * top, quad[3] + right * bottom, quad[3] + left * bottom]
    return np.array(corners, dtype=np.float32)


def upright_box(corners: npt.NDArray[np.float32], rotation: Rotation, width: int, height: int) -> Box:
    """Give the box around `corners` (pixels of a `width x height` image) once the image is turned clockwise."""
    x, y = corners[:, 0] / width, corners[:, 1] / height
    if rotation == 90:
        x, y = 1 - y, x
    elif rotation == 180:
        x, y = 1 - x, 1 - y
    elif rotation == 270:
        x, y = y, 1 - x
    x, y = np.clip(x, 0.0, 1.0), np.clip(y, 0.0, 1.0)
    return Box(float(x.min()), float(y.min()), float(x.max()), float(y.max()))
