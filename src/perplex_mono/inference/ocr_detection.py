"""Finds the lines of text on a page image with a PP-OCR detection model."""

import math
import threading
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.uint8]
Quads = npt.NDArray[np.float32]
PostProcess = Callable[[npt.NDArray[np.float32], tuple[int, int]], tuple[npt.NDArray[Any], list[float]]]

# The figures PP-OCR was published with: a short side under 736 is enlarged, a long side over 2,000 reduced.
MIN_SIDE = 736
MAX_SIDE = 2_000
# Activations take about 250 bytes a pixel. A 4:3 page at MAX_SIDE has 3.1 million (at 2.9 a dense one lost 0.012 of its
# word F1); a long strip enlarged to MIN_SIDE would have many times that.
MAX_PIXELS = 3_200_000
LARGE_PIXELS = 1_800_000
_STRIDE = 32


class TextDetector:
    """One detection model, safe to call from several threads."""

    def __init__(self, session: Any, postprocess: PostProcess, *, large_at_once: int) -> None:
        """`large_at_once`: how many pages of over `LARGE_PIXELS` are in the model together; each needs up to 1 GB."""
        self._session = session
        self._input = session.get_inputs()[0].name
        self._postprocess = postprocess
        self._large = threading.BoundedSemaphore(large_at_once)

    def detect(self, image: Image) -> Quads:
        """Give `(n, 4, 2)` corners in pixels of `image` (BGR), from the top left clockwise, top lines first."""
        height, width = image.shape[:2]
        size = detection_size(width, height)
        if size[0] * size[1] > LARGE_PIXELS:
            with self._large:
                heat = self._run(image, size)
        else:
            heat = self._run(image, size)
        boxes, _ = self._postprocess(heat, (height, width))
        quads = np.asarray(boxes, dtype=np.float32).reshape(-1, 4, 2)
        return quads[np.lexsort((quads[:, 0, 0], quads[:, 0, 1]))]

    def _run(self, image: Image, size: tuple[int, int]) -> npt.NDArray[np.float32]:
        resized = cv2.resize(image, size)
        # (value / 255 - 0.5) / 0.5, the models' own normalisation
        tensor = cv2.dnn.blobFromImage(resized, scalefactor=1 / 127.5, mean=(127.5, 127.5, 127.5))
        heat: npt.NDArray[np.float32] = self._session.run(None, {self._input: tensor})[0]
        return heat


def detection_size(width: int, height: int) -> tuple[int, int]:
    """Give the width and height at which the model sees a page: multiples of 32, at most `MAX_PIXELS` in all."""
    scale = min(1.0, MAX_SIDE / max(width, height))
    if min(width, height) * scale < MIN_SIDE:
        scale = MIN_SIDE / min(width, height)
    scale = min(scale, math.sqrt(MAX_PIXELS / (width * height)))
    return _to_stride(width * scale), _to_stride(height * scale)


def _to_stride(side: float) -> int:
    return max(_STRIDE, round(side / _STRIDE) * _STRIDE)
