"""BERT without padding: all tokens of a batch in one matrix, and only attention knows where texts begin and end.

Same weights, same float32 arithmetic, same vectors as SentenceTransformer (cosine 0.9999999) in less than half the
time on a CPU. Two things pay: no multiplication by padding, and oneDNN linear layers whose weights are laid out once at
load (MKL, which torch calls otherwise, leaves AVX-512 unused on AMD). torch is imported inside functions: it takes
seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Literal, cast

import numpy as np

from perplex_mono.inference.embedder import EmbeddingMode, Vectors
from perplex_mono.inference.encoder import EncoderInput, Pause
from perplex_mono.inference.model_files import ModelFiles

if TYPE_CHECKING:
    from torch import Tensor

Linear = Callable[["Tensor"], "Tensor"]
Pooling = Literal["mean", "cls"]


@dataclass(frozen=True)
class LengthGroup:
    """`count` texts of `length` tokens each, whose rows start at `start`."""

    start: int
    length: int
    count: int


@dataclass(frozen=True)
class _Norm:
    weight: Tensor
    bias: Tensor
    epsilon: float

    def __call__(self, rows: Tensor) -> Tensor:
        from torch.nn import functional

        return functional.layer_norm(rows, (rows.shape[-1],), self.weight, self.bias, self.epsilon)


@dataclass(frozen=True)
class _Layer:
    query_key_value: Linear
    attention_output: Linear
    attention_norm: _Norm
    expand: Linear
    contract: Linear
    output_norm: _Norm


def can_pack(files: ModelFiles) -> bool:
    """Tell whether this module computes that model: a plain BERT encoder with mean or first-token pooling."""
    config = files.config
    return (
        config.get("model_type") == "bert"
        and config.get("hidden_act") == "gelu"
        and config.get("position_embedding_type", "absolute") == "absolute"
        and not config.get("is_decoder", False)
        and files.modules in {("Transformer", "Pooling"), ("Transformer", "Pooling", "Normalize")}
        and files.pooling in {("mean",), ("cls",)}
        and files.include_prompt
        and files.dimension == config["hidden_size"]
        and len(files.weights) == 1
    )


class PackedBert:
    """A BERT encoder on the CPU in float32, over unpadded batches."""

    device = "cpu"
    dtype = "float32"

    def __init__(self, files: ModelFiles) -> None:
        """Read the weights; raises KeyError where a tensor has another name than BERT's."""
        import torch
        from safetensors.torch import load_file

        config = files.config
        self._heads = int(config["num_attention_heads"])
        self._pooling = cast(Pooling, files.pooling[0])
        self._prepacked = bool(torch._C._has_mkldnn)
        self.runtime = "packed (oneDNN)" if self._prepacked else "packed"
        # Rows alive at once: input, three projections, attention, twice the feed-forward width, and a copy.
        self.bytes_per_token = 4 * (8 * int(config["hidden_size"]) + 2 * int(config["intermediate_size"]))
        tensors: dict[str, Tensor] = load_file(files.weights[0])
        self.model_bytes = sum(tensor.nbytes for tensor in tensors.values())
        with torch.inference_mode():
            self._build({name.removeprefix("bert."): tensor.float() for name, tensor in tensors.items()}, config)

    def encode(self, inputs: Sequence[EncoderInput], mode: EmbeddingMode, pause: Pause) -> Vectors:
        """Return unit vectors, shape `(len(inputs), dimension)`, in the order given."""
        import torch

        order = sorted(range(len(inputs)), key=lambda index: len(inputs[index].token_ids))
        with torch.inference_mode():
            pooled = self._forward([inputs[index].token_ids for index in order], pause)
        vectors = np.empty((len(inputs), pooled.shape[1]), dtype=np.float32)
        vectors[order] = pooled.numpy()
        return vectors

    def free_memory_bytes(self) -> int | None:
        return None

    def release_cached_memory(self) -> None:
        """Nothing is kept between batches."""

    def _forward(self, ids: list[list[int]], pause: Pause) -> Tensor:
        from torch.nn import functional

        lengths = [len(row) for row in ids]
        groups = length_groups(lengths)
        rows = self._embed(ids, lengths)
        tokens = rows.shape[0]
        rows = functional.pad(rows, (0, 0, 0, padding(tokens)))
        for layer in self._layers:
            pause()
            attended = self._attend(layer.query_key_value(rows), groups)
            rows = layer.attention_norm(layer.attention_output(attended).add_(rows))
            pause()
            rows = layer.output_norm(layer.contract(layer.expand(rows)).add_(rows))
        return functional.normalize(self._pool(rows[:tokens], lengths))

    def _embed(self, ids: list[list[int]], lengths: list[int]) -> Tensor:
        import torch

        flat = torch.from_numpy(np.concatenate([np.asarray(row, dtype=np.int64) for row in ids]))
        positions = torch.from_numpy(np.concatenate([np.arange(length) for length in lengths]))
        return self._embedding_norm(self._words[flat].add_(self._positions[positions]))

    def _attend(self, projected: Tensor, groups: list[LengthGroup]) -> Tensor:
        """Attention of each text over itself, texts of one length together. `projected` is `(tokens, 3 * hidden)`."""
        from torch.nn import functional

        hidden = projected.shape[1] // 3
        width = hidden // self._heads
        attended = projected.new_zeros((projected.shape[0], hidden))
        for group in groups:
            end = group.start + group.length * group.count
            split = projected[group.start : end].view(group.count, group.length, 3, self._heads, width)
            query, key, value = split.permute(2, 0, 3, 1, 4)
            result = functional.scaled_dot_product_attention(query, key, value)
            place = attended[group.start : end].view(group.count, group.length, self._heads, width)
            place.copy_(result.transpose(1, 2))
        return attended

    def _pool(self, rows: Tensor, lengths: list[int]) -> Tensor:
        import torch

        texts = torch.split(rows, lengths)
        return torch.stack([text.mean(0) if self._pooling == "mean" else text[0] for text in texts])

    def _build(self, tensors: dict[str, Tensor], config: dict[str, object]) -> None:
        epsilon = float(str(config.get("layer_norm_eps", 1e-12)))

        def norm(name: str) -> _Norm:
            return _Norm(tensors[f"{name}.LayerNorm.weight"], tensors[f"{name}.LayerNorm.bias"], epsilon)

        self._words = tensors["embeddings.word_embeddings.weight"]
        # Every token here is of the first type, so its vector is added to the positions once.
        types = tensors["embeddings.token_type_embeddings.weight"]
        self._positions = tensors["embeddings.position_embeddings.weight"] + types[0]
        self._embedding_norm = norm("embeddings")
        self._layers = [
            _Layer(
                query_key_value=self._linear(tensors, *(f"{at}.attention.self.{n}" for n in ("query", "key", "value"))),
                attention_output=self._linear(tensors, f"{at}.attention.output.dense"),
                attention_norm=norm(f"{at}.attention.output"),
                expand=self._linear(tensors, f"{at}.intermediate.dense", gelu=True),
                contract=self._linear(tensors, f"{at}.output.dense"),
                output_norm=norm(f"{at}.output"),
            )
            for at in (f"encoder.layer.{index}" for index in range(int(str(config["num_hidden_layers"]))))
        ]

    def _linear(self, tensors: dict[str, Tensor], *names: str, gelu: bool = False) -> Linear:
        """Return one linear layer made of the named ones side by side, followed by the exact GELU if asked."""
        import torch

        weight = torch.cat([tensors[f"{name}.weight"] for name in names])
        bias = torch.cat([tensors[f"{name}.bias"] for name in names])
        return _prepacked_linear(weight, bias, gelu) if self._prepacked else _plain_linear(weight, bias, gelu)


def padding(tokens: int) -> int:
    """Rows to add to a batch so that only some sixty sizes occur.

    oneDNN keeps what it prepared for every size it meets: without this the process grew to 2.6 GB over 5,000 texts.
    """
    step = 8 if tokens <= 128 else 32 if tokens <= 1024 else 128
    return -tokens % step


def length_groups(lengths: Sequence[int]) -> list[LengthGroup]:
    """Group neighbours of equal length. `lengths` are sorted."""
    groups: list[LengthGroup] = []
    start = 0
    for length, same in groupby(lengths):
        count = sum(1 for _ in same)
        groups.append(LengthGroup(start, length, count))
        start += length * count
    return groups


def _prepacked_linear(weight: Tensor, bias: Tensor, gelu: bool) -> Linear:
    """Lay the weights out for oneDNN once. These are the operators torch's own compiler emits for frozen CPU models."""
    import torch

    packed = torch.ops.mkldnn._reorder_linear_weight(weight, None)
    activation, variant = ("gelu", "none") if gelu else ("none", "")

    def apply(rows: Tensor) -> Tensor:
        return cast("Tensor", torch.ops.mkldnn._linear_pointwise(rows, packed, bias, activation, [], variant))

    return apply


def _plain_linear(weight: Tensor, bias: Tensor, gelu: bool) -> Linear:
    from torch.nn import functional

    def apply(rows: Tensor) -> Tensor:
        result = functional.linear(rows, weight, bias)
        return functional.gelu(result) if gelu else result

    return apply
