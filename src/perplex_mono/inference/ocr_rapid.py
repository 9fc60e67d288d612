"""Reads a page with the PP-OCR models that ship inside the `rapidocr` and `rapidocr-onnxruntime` wheels.

Both packages call their models page after page, padded and with an orientation check for each line. We take their
models and their box extraction, and keep the rest of the pipeline here: docs/decisions/003-ocr-engines.md says what
that gains. Nothing is ever downloaded.
"""

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from perplex_mono.inference.ocr import OcrPage, PageRaster
from perplex_mono.inference.ocr_detection import Image, Quads, TextDetector
from perplex_mono.inference.ocr_geometry import build_page
from perplex_mono.inference.ocr_models import ModelFiles
from perplex_mono.inference.ocr_orientation import Readings, cut, find_rotation, line_sizes, turn
from perplex_mono.inference.ocr_recognition import Reading, TextRecogniser

# PP-OCR's own limits: heat above which a pixel is text, mean heat of a box, growth of the box. The box limit is 0.1
# under its default, which finds more lone digits; what is no text is read with little confidence and dropped by that.
_PIXEL_THRESHOLD = 0.3
_BOX_THRESHOLD = 0.4
_UNCLIP_RATIO = 1.6
_MAX_BOXES = 1_000
_TALL = 1.5
_SHRINK_ARENA = "memory.enable_memory_arena_shrinkage"


class PageReader:
    """The loaded models of one package, safe to call from several threads."""

    def __init__(self, files: ModelFiles, *, threads: int, batch_width: int) -> None:
        """Load the models. Raises whatever the package or the runtime raises when it cannot."""
        folder = files.folder()
        boxes = importlib.import_module(f"{files.package}.ch_ppocr_det.utils").DBPostProcess(
            thresh=_PIXEL_THRESHOLD,
            box_thresh=_BOX_THRESHOLD,
            max_candidates=_MAX_BOXES,
            unclip_ratio=_UNCLIP_RATIO,
            score_mode="fast",
            use_dilation=True,
        )
        detection = _open(folder / files.detection)
        recognition = _open(folder / files.recognition)
        characters = recognition.get_modelmeta().custom_metadata_map["character"].splitlines()
        self._sessions = (detection, recognition)
        self._detector = TextDetector(detection, boxes, large_at_once=max(1, threads // 2))
        self._line_margin = files.line_margin
        self._recogniser = TextRecogniser(
            recognition, characters, batch_width=batch_width, space_probability=files.space_probability
        )

    def read(self, raster: PageRaster) -> OcrPage:
        """Detect, find the upright direction, recognise."""
        pixels = np.frombuffer(raster.pixels, dtype=np.uint8).reshape(raster.height, raster.width, 3)
        image = np.ascontiguousarray(pixels[:, :, ::-1])
        quads = self._detector.detect(image)
        if not len(quads):
            return OcrPage(lines=(), rotation=0, confidence=0.0)
        rotation, sample = find_rotation(quads, lambda turned, chosen: self._read_lines(image, turned, chosen))
        quads = turn(quads, rotation)
        readings = self._read_rest(image, quads, sample)
        return build_page(readings, rotation, raster.width, raster.height)

    def _read_lines(self, image: Image, quads: Quads, chosen: Sequence[int]) -> list[Reading]:
        return self._recogniser.recognise([cut(image, quads[index], self._line_margin) for index in chosen])

    def _read_rest(self, image: Image, quads: Quads, sample: Readings) -> list[tuple[Quads, Reading]]:
        """Read every line but the sample's; a tall box may be one letter, or a line set upwards or downwards."""
        widths, heights = line_sizes(quads)
        tall = {int(index) for index in np.flatnonzero(heights >= _TALL * widths)}
        rest = [index for index in range(len(quads)) if index not in sample]
        readings = dict(zip(rest, self._read_lines(image, quads, rest), strict=True)) | sample
        result = {index: (quads[index], reading) for index, reading in readings.items()}
        for rotation in (270, 90):
            turned = turn(quads, rotation)
            doubtful = sorted(tall)
            for index, reading in zip(doubtful, self._read_lines(image, turned, doubtful), strict=True):
                if len(reading.text) > 1 and _evidence(reading) > _evidence(result[index][1]):
                    result[index] = (turned[index], reading)
        return [result[index] for index in range(len(quads))]

    def shrink(self) -> None:
        """Give the memory of the last pages back to the system, keeping the models."""
        options = onnxruntime.RunOptions()
        options.add_run_config_entry(_SHRINK_ARENA, "cpu:0")
        for session, size in zip(self._sessions, ((64, 64), (48, 64)), strict=True):
            session.run(None, {session.get_inputs()[0].name: np.zeros((1, 3, *size), dtype=np.float32)}, options)


def _evidence(reading: Reading) -> float:
    """How much certain text a reading holds: one sure letter beats a doubtful three."""
    return sum(max(0.0, confidence - 0.5) for confidence in reading.confidences)


def _open(path: Path) -> Any:
    """Open a model for one thread of the caller's; the arena reuses memory between runs, which is a third faster."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.enable_mem_pattern = False
    options.log_severity_level = 4
    provider = ("CPUExecutionProvider", {"arena_extend_strategy": "kSameAsRequested"})
    return onnxruntime.InferenceSession(str(path), sess_options=options, providers=[provider])
