"""From the name of a model to weights that compute: verify the files, choose the device, go fast where it is right."""

import base64
import json
import os
import sys
from collections.abc import Sequence
from functools import partial
from importlib import resources
from typing import Any

import numpy as np
from loguru import logger

from perplex_mono.inference.device import Device, DtypeChoice, choose_device
from perplex_mono.inference.embedder import Vectors
from perplex_mono.inference.encoder import EncoderInput, TextEncoder
from perplex_mono.inference.engine import TorchEmbedder
from perplex_mono.inference.generic_encoder import SentenceTransformerEncoder
from perplex_mono.inference.memory import settle_objects
from perplex_mono.inference.model_files import ModelFiles, describe_model
from perplex_mono.inference.model_location import BUNDLED_MODEL, BUNDLED_SHA256, find_model
from perplex_mono.inference.packing import PackedBert, can_pack
from perplex_mono.inference.priority import never_pause

MIN_COSINE = 0.9999
CHECK_TEXTS = (
    "",
    "Where is the invoice?",
    "Ärzte in Zürich: 42 % — naïve façade, 東京 \U0001f600.",
    "The quick brown fox jumps over the lazy dog. " * 60,
)


def open_embedder(
    model: str = BUNDLED_MODEL,
    *,
    device: str = "auto",
    dtype: DtypeChoice = "auto",
    allow_download: bool = False,
    **options: Any,
) -> TorchEmbedder:
    """Return an engine for a model by name or folder, not yet started; `options` are those of `TorchEmbedder`.

    Reads the model's files (a tenth of a second for the bundled one), so call it in a thread for large models.
    Raises `ConfigurationError` when there is no such model or it must not be read.
    """
    files = find_files(model, allow_download=allow_download)
    return TorchEmbedder(files, partial(load_encoder, files, device=device, dtype=dtype), **options)


def find_files(model: str, *, allow_download: bool = False) -> ModelFiles:
    """Return the checked files of a model by name or folder; the bundled one has to be the published one.

    Blocks; raises `ConfigurationError` when there is no such model or it must not be read.
    """
    directory = find_model(model, allow_download=allow_download)
    return describe_model(directory, expected_sha256=BUNDLED_SHA256 if model == BUNDLED_MODEL else None)


def load_encoder(files: ModelFiles, *, device: str = "auto", dtype: DtypeChoice = "auto") -> TextEncoder:
    """Load verified weights. On the CPU a BERT runs packed if its vectors agree with the reference, else generically.

    Raises `DataCorrupt` for altered weights, `ConfigurationError` for an absent device.
    """
    files.verify()
    _let_compute_threads_sleep()
    chosen = choose_device(device, dtype)
    can_be_packed = chosen.name == "cpu" and can_pack(files)
    encoder = _packed_or_generic(files, chosen) if can_be_packed else SentenceTransformerEncoder(files, chosen)
    settle_objects()
    return encoder


def reference_vectors(files: ModelFiles) -> Vectors:
    """Return what sentence-transformers makes of `CHECK_TEXTS`, the yardstick of the packed way.

    For the bundled model these are stored beside this module: importing the library takes seconds and 200 MB.
    """
    stored = json.loads(resources.files(__package__).joinpath("bundled_reference.json").read_text("ascii"))
    if files.model_key == stored["model_key"]:
        return np.frombuffer(base64.b64decode(stored["vectors"]), dtype="<f4").reshape(stored["shape"])
    return _encode(SentenceTransformerEncoder(files, Device("cpu", "float32")), files)


def _let_compute_threads_sleep() -> None:
    """Stop OpenMP threads from spinning while they wait for each other; must run before torch is first imported.

    1000 turns is what libgomp takes by itself once it knows of more threads than processors. It cannot know of this
    process's other threads and children, and on a busy machine its 300,000 turned a question of 20 ms into 500 ms.
    """
    if "torch" not in sys.modules:
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")


def _packed_or_generic(files: ModelFiles, device: Device) -> TextEncoder:
    try:
        packed = PackedBert(files)
        cosine = lowest_cosine(_encode(packed, files), reference_vectors(files))
    except (KeyError, RuntimeError, AttributeError, NotImplementedError) as error:
        # Tensors of other names, or operators that this build of torch or this processor does not have.
        logger.warning("embedding.packing_failed", reason=f"{type(error).__name__}: {error}")
        return SentenceTransformerEncoder(files, device)
    if cosine >= MIN_COSINE:
        return packed
    logger.warning("embedding.packing_differs", cosine=cosine, needed=MIN_COSINE)
    return SentenceTransformerEncoder(files, device)


def _encode(encoder: TextEncoder, files: ModelFiles) -> Vectors:
    ids = files.model_tokenizer().encode([files.document_prompt + text for text in CHECK_TEXTS])
    inputs = [EncoderInput(text, row) for text, row in zip(CHECK_TEXTS, ids, strict=True)]
    return encoder.encode(inputs, "document", never_pause)


def lowest_cosine(left: Vectors, right: Vectors) -> float:
    """Return the smallest cosine between rows of two sets of unit vectors; not-a-number counts as -1."""
    cosines: Sequence[float] = np.nan_to_num((left * right).sum(axis=1), nan=-1.0).tolist()
    return min(cosines)
