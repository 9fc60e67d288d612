"""What a sentence-transformers model folder says about itself, read without a model runtime: a server starts at once.

Only safetensors and JSON are trusted: pickled weights execute code when opened and are refused, as is any module class
from outside sentence-transformers.
"""

import hashlib
import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from perplex_mono.errors import ConfigurationError, DataCorrupt
from perplex_mono.inference.tokenizer import ModelTokenizer, TokenCounter

_PICKLE_SUFFIXES = frozenset({".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt"})
_LEGACY_POOLING = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
_DOCUMENT_PROMPTS = ("document", "passage", "corpus")  # the first that a model has; names in use by published models
_UNBOUNDED_TOKENS = 8192  # for models that state no limit (static embeddings)


@dataclass(frozen=True)
class ModelFiles:
    """A model folder that passed every check which needs no runtime.

    `expected_sha256` is the published hash of the weights, where one is known; `weights_sha256` is what was found.
    `modules` are the short class names of the pipeline, e.g. Transformer, Pooling, Normalize.
    """

    directory: Path
    weights: tuple[Path, ...]
    weights_sha256: str
    expected_sha256: str | None
    tokenizer_json: Path
    config: dict[str, Any]
    modules: tuple[str, ...]
    pooling: tuple[str, ...]
    include_prompt: bool
    dimension: int
    max_tokens: int
    lowercase: bool
    query_prompt: str
    document_prompt: str
    model_key: str

    def verify(self) -> None:
        """Hash the weights again; `DataCorrupt` if they are not the published ones or have changed since."""
        found = _hash_files(self.weights)
        if found != (self.expected_sha256 or self.weights_sha256):
            raise DataCorrupt(
                f"The weights in {self.directory} are not the expected ones (SHA-256 {found[:12]}...). "
                "Reinstall the model."
            )

    def token_counter(self) -> TokenCounter:
        """Return a counter for splitters, in this model's tokens."""
        return TokenCounter(
            self.tokenizer_json,
            max_tokens=self.max_tokens,
            document_prompt=self.document_prompt,
            lowercase=self.lowercase,
        )

    def model_tokenizer(self) -> ModelTokenizer:
        """Return the tokenizer that prepares the model's input."""
        return ModelTokenizer(self.tokenizer_json, max_tokens=self.max_tokens, lowercase=self.lowercase)


def describe_model(directory: Path, *, expected_sha256: str | None = None) -> ModelFiles:
    """Read a model folder. Hashes the weights (90 MB in about 0.1 s), so call it in a thread for large models.

    Raises `ConfigurationError` with the reason when the folder cannot or must not be used.
    """
    modules = _modules(directory)
    folders = [directory, *(folder for _, folder in modules if folder != directory)]
    weights = _weights(folders)
    tokenizer_json = _first_existing(folders, "tokenizer.json")
    sentence = _first_json(folders, "sentence_bert_config.json")
    transformers_config = _json(directory / "config.json")
    saved = _json(directory / "config_sentence_transformers.json")
    pooling = _pooling(modules)
    max_tokens = _max_tokens(folders, sentence, transformers_config)
    weights_sha256 = _hash_files(weights)
    prompts = {key: str(value) for key, value in (saved.get("prompts") or {}).items() if value}
    identity = {
        "weights": weights_sha256,
        "tokenizer": _hash_files((tokenizer_json,)),
        "modules": [(kind, _json(folder / "config.json")) for kind, folder in modules],
        "prompts": prompts,
        "max_tokens": max_tokens,
        "lowercase": bool(sentence.get("do_lower_case")),
        "truncate_dim": saved.get("truncate_dim"),
    }
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
    dimension = _dimension(modules, weights, transformers_config, saved)
    return ModelFiles(
        directory=directory,
        weights=weights,
        weights_sha256=weights_sha256,
        expected_sha256=expected_sha256,
        tokenizer_json=tokenizer_json,
        config=transformers_config,
        modules=tuple(kind for kind, _ in modules),
        pooling=pooling,
        include_prompt=_include_prompt(modules),
        dimension=dimension,
        max_tokens=max_tokens,
        lowercase=bool(sentence.get("do_lower_case")),
        query_prompt=prompts.get("query", ""),
        document_prompt=next((prompts[name] for name in _DOCUMENT_PROMPTS if name in prompts), ""),
        model_key=f"{transformers_config.get('model_type', 'static')}-{dimension}-{digest[:32]}",
    )


def _modules(directory: Path) -> list[tuple[str, Path]]:
    """Return (short class name, folder) of each step; a bare transformer gets mean pooling, as upstream does."""
    path = directory / "modules.json"
    if not path.is_file():
        if not (directory / "config.json").is_file():
            raise ConfigurationError(f"{directory} is no sentence-transformers model: it has no modules.json.")
        return [("Transformer", directory), ("Pooling", directory / "1_Pooling")]
    found = []
    for entry in json.loads(path.read_text(encoding="utf-8")):
        kind, folder = str(entry["type"]), (directory / str(entry["path"]))
        if not kind.startswith("sentence_transformers."):
            raise ConfigurationError(f"{directory} wants code of its own ({kind}), which is never run.")
        if not folder.resolve().is_relative_to(directory.resolve()):
            raise ConfigurationError(f"{path} points outside its folder.")
        found.append((kind.rsplit(".", 1)[1], folder))
    return found


def _weights(folders: list[Path]) -> tuple[Path, ...]:
    safe: list[Path] = []
    for folder in folders:
        found = sorted(folder.glob("*.safetensors"))
        pickles = sorted(file.name for file in folder.glob("*") if file.suffix in _PICKLE_SUFFIXES)
        if pickles and not found:
            raise ConfigurationError(
                f"{folder} has its weights as {pickles[0]}, a pickle that could run code when opened. "
                "Only safetensors are read: convert the model, or take a version that has them."
            )
        safe.extend(found)
    if not safe:
        raise ConfigurationError(f"{folders[0]} has no model.safetensors.")
    return tuple(safe)


def _pooling(modules: list[tuple[str, Path]]) -> tuple[str, ...]:
    for kind, folder in modules:
        if kind == "Pooling":
            config = _json(folder / "config.json")
            stated = config.get("pooling_mode")
            if stated:
                return (stated,) if isinstance(stated, str) else tuple(stated)
            return tuple(mode for key, mode in _LEGACY_POOLING.items() if config.get(key)) or ("mean",)
    return ()


def _include_prompt(modules: list[tuple[str, Path]]) -> bool:
    pooling = [_json(folder / "config.json") for kind, folder in modules if kind == "Pooling"]
    return all(config.get("include_prompt", True) for config in pooling)


def _max_tokens(folders: list[Path], sentence: dict[str, Any], config: dict[str, Any]) -> int:
    if sentence.get("max_seq_length"):
        return int(sentence["max_seq_length"])
    tokenizer = _first_json(folders, "tokenizer_config.json")
    stated = [tokenizer.get("model_max_length"), config.get("max_position_embeddings")]
    limits = [int(limit) for limit in stated if limit and 0 < limit < 1_000_000]
    return min(limits, default=_UNBOUNDED_TOKENS)


def _dimension(
    modules: list[tuple[str, Path]], weights: tuple[Path, ...], config: dict[str, Any], saved: dict[str, Any]
) -> int:
    dimension = int(config.get("hidden_size") or config.get("dim") or config.get("d_model") or 0)
    for kind, folder in modules:
        own = _json(folder / "config.json")
        if kind == "Pooling":
            width = own.get("embedding_dimension") or own.get("word_embedding_dimension") or dimension
            dimension = int(width) * max(1, len(_pooling(modules)))
        elif kind == "Dense":
            dimension = int(own["out_features"])
        elif kind == "StaticEmbedding":
            dimension = _static_dimension(weights)
    dimension = min(dimension, int(saved.get("truncate_dim") or dimension))
    if dimension <= 0:
        raise ConfigurationError(f"{folder} does not say how long its vectors are.")
    return dimension


def _static_dimension(weights: tuple[Path, ...]) -> int:
    """Read the width of the embedding table from the header of a safetensors file: 8 bytes of length, then JSON."""
    with weights[0].open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(min(length, 100_000_000)))
    return int(next(entry["shape"][-1] for name, entry in header.items() if name.endswith("embedding.weight")))


def _first_existing(folders: list[Path], name: str) -> Path:
    for folder in folders:
        if (folder / name).is_file():
            return folder / name
    raise ConfigurationError(f"{folders[0]} has no {name}, without which its tokens cannot be counted.")


def _first_json(folders: list[Path], name: str) -> dict[str, Any]:
    return next((_json(folder / name) for folder in folders if (folder / name).is_file()), {})


def _json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigurationError(f"{path} is not JSON: {error}") from error
    return content if isinstance(content, dict) else {}


def _hash_files(paths: tuple[Path, ...]) -> str:
    """Return the SHA-256 of one file, or of the files' digests where there are several."""
    digests = []
    for path in paths:
        with path.open("rb") as file:
            digests.append(hashlib.file_digest(file, "sha256").hexdigest())
    return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()
