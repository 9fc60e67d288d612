"""Chooses how pages are cut: the strategies by name, and whether their sizes fit the embedding model."""

from typing import get_args

from perplex_mono.errors import ConfigurationError
from perplex_mono.ingestion.chunks import Splitter
from perplex_mono.ingestion.splitters.fixed import FixedSplitter
from perplex_mono.ingestion.splitters.hierarchical import CHILDREN_A_PARENT, HierarchicalSplitter, child_tokens
from perplex_mono.ingestion.splitters.recursive import RecursiveSplitter
from perplex_mono.ingestion.splitters.semantic import Embed, SemanticSplitter
from perplex_mono.ingestion.splitters.sentence import SentenceSplitter
from perplex_mono.ingestion.splitters.structure import StructureSplitter
from perplex_mono.ingestion.units import TokenCounter
from perplex_mono.settings import ChunkStrategy

# Joints between context and text, and words cut in two, may cost the model a token each.
_SPARE_TOKENS = 4
_MIN_TOKENS = 16


def find_fault(strategy: str, max_tokens: int, overlap_tokens: int, tokens: TokenCounter) -> str | None:
    """Say in a sentence what is wrong with these values for this model and what would be right; None if nothing is.

    The model reads the children of `hierarchical` alone, so their parents may be as many times larger.
    """
    strategies = get_args(ChunkStrategy)
    if strategy not in strategies:
        return f"chunking.strategy is '{strategy}'; it must be one of {', '.join(strategies)}."
    limit = _room(tokens) * (CHILDREN_A_PARENT if strategy == "hierarchical" else 1)
    if not _MIN_TOKENS <= max_tokens <= limit:
        return (
            f"chunking.max_tokens is {max_tokens}; for '{strategy}', "
            f"this model needs a value from {_MIN_TOKENS} to {limit}."
        )
    if not 0 <= overlap_tokens <= max_tokens // 2:
        return (
            f"chunking.overlap_tokens is {overlap_tokens}; with chunking.max_tokens {max_tokens} "
            f"it must lie between 0 and {max_tokens // 2}."
        )
    return None


def require_fitting(strategy: str, max_tokens: int, overlap_tokens: int, tokens: TokenCounter) -> None:
    """Raise ConfigurationError where these values contradict each other or the model."""
    fault = find_fault(strategy, max_tokens, overlap_tokens, tokens)
    if fault is not None:
        raise ConfigurationError(fault)


def make_splitter(
    strategy: str, max_tokens: int, overlap_tokens: int, tokens: TokenCounter, embed: Embed | None = None
) -> Splitter:
    """Build the splitter for `chunking.strategy`, `chunking.max_tokens` and `chunking.overlap_tokens`.

    Raises ConfigurationError where they contradict each other or the model, or for `semantic` without `embed`.
    """
    require_fitting(strategy, max_tokens, overlap_tokens, tokens)
    if strategy == "fixed":
        return FixedSplitter(max_tokens, overlap_tokens, tokens)
    if strategy == "semantic":
        if embed is None:
            raise ConfigurationError("chunking.strategy 'semantic' needs an embedding model.")
        return SemanticSplitter(max_tokens, overlap_tokens, _room(tokens) - max_tokens, tokens, embed)
    if strategy == "hierarchical":
        return HierarchicalSplitter(max_tokens, overlap_tokens, _room(tokens) - child_tokens(max_tokens), tokens)
    kinds: dict[str, type[StructureSplitter | RecursiveSplitter | SentenceSplitter]] = {
        "structure": StructureSplitter,
        "recursive": RecursiveSplitter,
        "sentence": SentenceSplitter,
    }
    return kinds[strategy](max_tokens, overlap_tokens, _room(tokens) - max_tokens, tokens)


def _room(tokens: TokenCounter) -> int:
    """How many tokens of text the model reads."""
    return tokens.max_tokens - tokens.special_tokens - _SPARE_TOKENS
