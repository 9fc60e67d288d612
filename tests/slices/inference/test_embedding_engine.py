"""The real bundled model behind the engine gives SentenceTransformer's vectors, whatever the batch and the way."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from perplex_mono.errors import ConfigurationError, DataCorrupt
from perplex_mono.inference import loading, packing
from perplex_mono.inference.device import choose_device, is_out_of_memory
from perplex_mono.inference.embedder import Vectors
from perplex_mono.inference.engine import TorchEmbedder
from perplex_mono.inference.loading import load_encoder, lowest_cosine, open_embedder
from perplex_mono.inference.model_files import describe_model
from perplex_mono.inference.model_location import BUNDLED_SHA256, find_model

MODEL = find_model("bundled")
TEXTS = [
    "A short title",
    "",
    "word " * 1000,  # over the limit of 256 tokens
    "Ärzte in Zürich zahlen 42 % mehr für naïve façades.",
    "東京 is the capital of Japan \U0001f600",
    *(f"Sentence {n} speaks of number {n}. " * (n % 40 + 1) for n in range(40)),
    "   blanks   around\n\nand between\t",
    "x" * 500,
    "A short title",
]


@pytest.fixture(scope="module")
def reference() -> Any:
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(MODEL), device="cpu")


@pytest.fixture
async def embedder() -> AsyncIterator[TorchEmbedder]:
    engine = open_embedder(device="cpu", max_batch_tokens=1024)
    await engine.start()
    yield engine
    await engine.close()


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return Path(shutil.copytree(MODEL, tmp_path / "model"))


def encode(reference: Any, texts: list[str], **options: Any) -> Vectors:
    return np.asarray(reference.encode(texts, normalize_embeddings=True, **options), dtype=np.float32)


async def test_vectors_are_those_of_sentence_transformers_in_order(embedder: TorchEmbedder, reference: Any) -> None:
    vectors = await embedder.embed_documents(TEXTS)

    assert lowest_cosine(vectors, encode(reference, TEXTS)) >= 0.99999
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-5)
    status = embedder.status()
    assert (status.state, status.device, status.dtype) == ("ready", "cpu", "float32")
    assert status.runtime.startswith("packed")
    assert status.batches_done > 1
    assert status.texts_reused == 1


async def test_questions_and_documents_share_a_space(embedder: TorchEmbedder, reference: Any) -> None:
    query = await embedder.embed_query("What is the capital of Japan?")
    vectors = await embedder.embed_documents(TEXTS)

    assert query @ encode(reference, ["What is the capital of Japan?"])[0] >= 0.99999
    assert int(np.argmax(vectors @ query)) == 4


async def test_a_long_text_is_cut_exactly_where_the_model_cuts_it(embedder: TorchEmbedder) -> None:
    same, longer, shorter = await embedder.embed_documents(["word " * 254, "word " * 254 + "unread", "word " * 253])

    assert same @ longer == pytest.approx(1, abs=1e-6)
    assert same @ shorter < 0.999999


async def test_no_texts_no_vectors(embedder: TorchEmbedder) -> None:
    assert (await embedder.embed_documents([])).shape == (0, 384)


async def test_unloaded_it_comes_back_with_the_same_answers(embedder: TorchEmbedder) -> None:
    before = await embedder.embed_documents(TEXTS[:5])
    await embedder.unload()
    assert embedder.status().state == "unloaded"
    assert embedder.status().model_bytes == 0

    after = await embedder.embed_documents(TEXTS[:5])
    assert lowest_cosine(before, after) >= 0.999999
    assert embedder.status().state == "ready"


async def test_altered_weights_are_refused_in_words(model: Path) -> None:
    content = bytearray((model / "model.safetensors").read_bytes())
    content[len(content) // 2] ^= 1
    (model / "model.safetensors").write_bytes(content)
    files = describe_model(model, expected_sha256=BUNDLED_SHA256)
    engine = TorchEmbedder(files, lambda: load_encoder(files, device="cpu"))
    await engine.start()

    with pytest.raises(DataCorrupt, match="not the expected ones"):
        await engine.embed_query("a")
    assert (engine.status().state, "SHA-256" in engine.status().reason) == ("failed", True)
    await engine.close()


async def test_another_model_is_checked_against_the_library_and_keeps_its_prompts(model: Path, reference: Any) -> None:
    """First-token pooling and prompts make it another model, with the same tensors."""
    pooling = {"word_embedding_dimension": 384, "pooling_mode_mean_tokens": False, "pooling_mode_cls_token": True}
    (model / "1_Pooling/config.json").write_text(json.dumps(pooling))
    prompts = {"query": "query: ", "passage": "passage: "}
    (model / "config_sentence_transformers.json").write_text(json.dumps({"prompts": prompts}))
    from sentence_transformers import SentenceTransformer

    library = SentenceTransformer(str(model), device="cpu")
    files = describe_model(model)
    packed = load_encoder(files, device="cpu")
    assert packed.runtime.startswith("packed")

    engine = TorchEmbedder(files, lambda: packed)
    await engine.start()
    expected = encode(library, TEXTS[:12], prompt="passage: ")
    assert lowest_cosine(await engine.embed_documents(TEXTS[:12]), expected) >= 0.99999
    assert await engine.embed_query("a b") @ encode(library, ["a b"], prompt="query: ")[0] >= 0.99999
    await engine.close()


async def test_what_cannot_be_packed_runs_through_the_library(model: Path) -> None:
    from sentence_transformers import SentenceTransformer

    (model / "1_Pooling/config.json").write_text(
        json.dumps({"embedding_dimension": 384, "pooling_mode": ["cls", "mean"]})
    )
    (model / "config_sentence_transformers.json").write_text(json.dumps({"prompts": {"query": "query: "}}))
    engine = open_embedder(str(model), device="cpu")
    await engine.start()

    library = SentenceTransformer(str(model), device="cpu")
    assert engine.dimension == 768
    assert lowest_cosine(await engine.embed_documents(TEXTS[:12]), encode(library, TEXTS[:12])) >= 0.99999
    assert await engine.embed_query("a") @ encode(library, ["a"], prompt="query: ")[0] >= 0.99999
    assert engine.status().runtime == "sentence-transformers"
    await engine.close()


def test_a_packed_model_that_differs_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """A processor on which the fast operators err cannot be had here, so they are made to."""
    right = packing._prepacked_linear
    plain = packing._plain_linear

    def wrong(weight: Any, bias: Any, gelu: bool) -> Any:
        return (right if gelu else plain)(weight, bias * 1.5, gelu)

    monkeypatch.setattr(packing, "_prepacked_linear", wrong)
    monkeypatch.setattr(packing, "_plain_linear", wrong)

    assert load_encoder(describe_model(MODEL), device="cpu").runtime == "sentence-transformers"


def test_without_onednn_the_plain_layers_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch._C._has_mkldnn", False)
    encoder = load_encoder(describe_model(MODEL), device="cpu")

    assert encoder.runtime == "packed"
    assert (
        lowest_cosine(loading._encode(encoder, describe_model(MODEL)), loading.reference_vectors(describe_model(MODEL)))
        > 0.99999
    )


def test_the_stored_reference_is_used_and_is_what_the_library_computes(
    reference: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(loading, "SentenceTransformerEncoder")
    stored = loading.reference_vectors(describe_model(MODEL))

    assert lowest_cosine(stored, encode(reference, list(loading.CHECK_TEXTS))) >= 0.99999


def test_an_absent_device_is_refused_naming_what_there_is() -> None:
    with pytest.raises(ConfigurationError, match=r"no cuda:99 here; there is .*cpu"):
        choose_device("cuda:99")
    with pytest.raises(ConfigurationError, match="float32"):
        choose_device("cpu", "float16")


def test_torchs_own_memory_errors_are_recognised() -> None:
    import torch

    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory."))
    assert is_out_of_memory(RuntimeError("MPS backend out of memory (MPS allocated: 1 GB)"))
    with pytest.raises(RuntimeError) as refused:
        torch.empty(2**55)  # more than any machine has
    assert is_out_of_memory(refused.value)
    assert not is_out_of_memory(RuntimeError("shape mismatch"))


def run_python(script: str) -> str:
    """Run a script in a fresh interpreter and return what it printed."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    environment.pop("GOMP_SPINCOUNT", None)
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_importing_the_slice_and_opening_an_engine_loads_no_model_runtime() -> None:
    """Importing torch takes seconds, which `/health` does not have."""
    script = """
import pkgutil, importlib, sys
import perplex_mono.inference as inference
for module in pkgutil.iter_modules(inference.__path__):
    if "ocr" not in module.name:
        importlib.import_module("perplex_mono.inference." + module.name)
from perplex_mono.inference.loading import open_embedder
engine = open_embedder()
assert engine.dimension == 384 and engine.max_tokens == 256 and engine.model_key
print(sorted({"torch", "transformers", "sentence_transformers"} & set(sys.modules)))
"""
    assert run_python(script) == "[]"


def test_compute_threads_are_told_to_sleep_before_torch_starts_them() -> None:
    """Also: the bundled model is verified and served without the library it comes from, slow to import."""
    script = """
import os, sys
class Watch:
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            print(os.environ.get("GOMP_SPINCOUNT"))
sys.meta_path.insert(0, Watch())
from perplex_mono.inference.loading import load_encoder
from perplex_mono.inference.model_files import describe_model
from perplex_mono.inference.model_location import find_model
load_encoder(describe_model(find_model("bundled")), device="cpu")
print(sorted({"transformers", "sentence_transformers"} & set(sys.modules)))
"""
    assert run_python(script).split("\n") == ["1000", "[]"]
