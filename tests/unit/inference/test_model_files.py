"""A model folder is described without loading it, and refused when opening it could run foreign code."""

import json
import shutil
from pathlib import Path

import pytest

from perplex_mono.errors import ConfigurationError, DataCorrupt
from perplex_mono.inference.model_files import describe_model
from perplex_mono.inference.model_location import BUNDLED_SHA256, find_model


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A private copy of the bundled model."""
    return Path(shutil.copytree(find_model("bundled"), tmp_path / "model"))


def edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_the_bundled_model_says_what_it_is() -> None:
    files = describe_model(find_model("bundled"), expected_sha256=BUNDLED_SHA256)

    assert (files.dimension, files.max_tokens, files.pooling) == (384, 256, ("mean",))
    assert files.modules == ("Transformer", "Pooling", "Normalize")
    assert files.weights_sha256 == BUNDLED_SHA256
    files.verify()


def test_equal_models_in_other_places_have_the_same_key(model: Path) -> None:
    assert describe_model(model).model_key == describe_model(find_model("bundled")).model_key


@pytest.mark.parametrize(
    ("file", "changes"),
    [
        ("1_Pooling/config.json", {"pooling_mode_mean_tokens": False, "pooling_mode_cls_token": True}),
        ("sentence_bert_config.json", {"max_seq_length": 128}),
        ("config_sentence_transformers.json", {"prompts": {"query": "query: "}}),
    ],
)
def test_what_changes_vectors_changes_the_key(model: Path, file: str, changes: dict[str, object]) -> None:
    before = describe_model(model).model_key
    edit(model / file, **changes)

    assert describe_model(model).model_key != before


def test_one_flipped_bit_is_noticed(model: Path) -> None:
    files = describe_model(model)
    content = bytearray((model / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (model / "model.safetensors").write_bytes(content)

    with pytest.raises(DataCorrupt, match=str(model)):
        files.verify()
    assert describe_model(model).model_key != files.model_key
    with pytest.raises(DataCorrupt):
        describe_model(model, expected_sha256=BUNDLED_SHA256).verify()


def test_pickled_weights_are_refused(model: Path) -> None:
    (model / "model.safetensors").rename(model / "pytorch_model.bin")

    with pytest.raises(ConfigurationError, match=r"pytorch_model\.bin.*safetensors"):
        describe_model(model)


def test_a_pickle_in_a_later_module_is_refused(model: Path) -> None:
    modules = json.loads((model / "modules.json").read_text())
    modules.append({"idx": 3, "name": "3", "path": "3_Dense", "type": "sentence_transformers.models.Dense"})
    (model / "modules.json").write_text(json.dumps(modules))
    (model / "3_Dense").mkdir()
    (model / "3_Dense/pytorch_model.bin").write_bytes(b"x")

    with pytest.raises(ConfigurationError, match="3_Dense"):
        describe_model(model)


def test_code_from_the_model_itself_is_refused(model: Path) -> None:
    modules = json.loads((model / "modules.json").read_text())
    modules[0]["type"] = "custom_code.Evil"
    (model / "modules.json").write_text(json.dumps(modules))

    with pytest.raises(ConfigurationError, match=r"custom_code\.Evil"):
        describe_model(model)


def test_modules_outside_the_folder_are_refused(model: Path) -> None:
    modules = json.loads((model / "modules.json").read_text())
    modules[1]["path"] = "../elsewhere"
    (model / "modules.json").write_text(json.dumps(modules))

    with pytest.raises(ConfigurationError, match="outside"):
        describe_model(model)


def test_prompts_and_limits_come_from_the_model(model: Path) -> None:
    edit(model / "config_sentence_transformers.json", prompts={"query": "query: ", "passage": "passage: "})
    (model / "sentence_bert_config.json").unlink()
    files = describe_model(model)

    assert (files.query_prompt, files.document_prompt) == ("query: ", "passage: ")
    assert files.max_tokens == 512
    assert files.token_counter().special_tokens == 4


def test_newer_pooling_files_are_read_too(model: Path) -> None:
    (model / "1_Pooling/config.json").write_text(
        json.dumps({"embedding_dimension": 384, "pooling_mode": ["cls", "mean"]})
    )
    files = describe_model(model)

    assert (files.pooling, files.dimension) == (("cls", "mean"), 768)


def test_what_is_missing_is_named(tmp_path: Path, model: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"modules\.json"):
        describe_model(tmp_path)
    (model / "tokenizer.json").unlink()
    with pytest.raises(ConfigurationError, match=r"tokenizer\.json"):
        describe_model(model)
