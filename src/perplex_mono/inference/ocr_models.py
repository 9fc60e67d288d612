"""Where the OCR packages keep the models they ship. Imports nothing heavy: the hash is wanted before the models."""

import hashlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path

# Raised when the code of the pipeline changes in a way that can change a page's text.
PIPELINE_VERSION = "1"


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """The models of one package. `engine` is the name its owner chooses it by.

    `space_probability` is where a space that lost to blank is restored, `line_margin` what a line's picture is enlarged
    by at its top and bottom, in line heights. Both were measured for each model on receipts and pages.
    """

    engine: str
    package: str
    detection: str
    recognition: str
    space_probability: float
    line_margin: float

    def folder(self) -> Path:
        """Give the folder of the models; `ModuleNotFoundError` when the package is not installed."""
        spec = importlib.util.find_spec(self.package)
        if spec is None or spec.origin is None:
            raise ModuleNotFoundError(f"{self.package} is not installed")
        return Path(spec.origin).parent / "models"

    def version(self) -> str:
        """Give `engine-hash-pipeline`, from the models' bytes; `engine-missing` when they are not there."""
        digest = hashlib.sha256()
        try:
            for name in (self.detection, self.recognition):
                digest.update((self.folder() / name).read_bytes())
        except (ImportError, OSError):
            return f"{self.engine}-missing"
        return f"{self.engine}-{digest.hexdigest()[:16]}-{PIPELINE_VERSION}"


RAPIDOCR = ModelFiles(
    engine="rapidocr",
    package="rapidocr",
    detection="PP-OCRv6_det_small.onnx",
    recognition="PP-OCRv6_rec_small.onnx",
    space_probability=0.15,
    line_margin=0.0,
)
RAPIDOCR_ONNXRUNTIME = ModelFiles(
    engine="rapidocr-onnxruntime",
    package="rapidocr_onnxruntime",
    detection="ch_PP-OCRv4_det_infer.onnx",
    recognition="ch_PP-OCRv4_rec_infer.onnx",
    space_probability=0.05,
    line_margin=0.05,
)
