"""Counting and cutting text in the model's own tokens, from `tokenizer.json` alone, so that no model need be loaded.

Published tokenizer files often carry truncation and padding (the bundled one cuts at 128 and says nothing). Every
object here works on a private copy with both replaced. Texts go through `encode_batch` even one by one: it is the call
that releases the interpreter lock, and a long text tokenized under it would stall the event loop.
"""

from collections.abc import Sequence
from pathlib import Path

from tokenizers import Tokenizer
from tokenizers.normalizers import Lowercase
from tokenizers.normalizers import Sequence as NormalizerSequence

from perplex_mono.errors import ConfigurationError


class TokenCounter:
    """Counts whole texts, never truncated. Safe to share between threads.

    `max_tokens` is what the model reads of one text; `special_tokens` of them the model spends itself, on its own marks
    and on the prompt it puts before a document.
    """

    def __init__(
        self, tokenizer_json: Path, *, max_tokens: int, document_prompt: str = "", lowercase: bool = False
    ) -> None:
        self._tokenizer = _read_tokenizer(tokenizer_json, lowercase=lowercase)
        self.max_tokens = max_tokens
        self.special_tokens = self._tokenizer.num_special_tokens_to_add(is_pair=False) + self.count(document_prompt)

    def count(self, text: str) -> int:
        """Return the number of tokens of `text`, without special ones."""
        return len(self._tokenizer.encode_batch_fast([text], add_special_tokens=False)[0])

    def offsets(self, text: str) -> list[tuple[int, int]]:
        """Return `[start, end)` of every token in characters of `text`, without special ones."""
        encoding = self._tokenizer.encode_batch([text], add_special_tokens=False)[0]
        return list(encoding.offsets)


class ModelTokenizer:
    """Turns texts into what the model reads: token ids with special tokens, cut at `max_tokens`, never padded."""

    def __init__(self, tokenizer_json: Path, *, max_tokens: int, lowercase: bool = False) -> None:
        self._tokenizer = _read_tokenizer(tokenizer_json, lowercase=lowercase)
        self._tokenizer.enable_truncation(max_length=max_tokens)

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the ids of each text, in order."""
        return [encoding.ids for encoding in self._tokenizer.encode_batch_fast(list(texts))]


def _read_tokenizer(tokenizer_json: Path, *, lowercase: bool) -> Tokenizer:
    try:
        tokenizer = Tokenizer.from_file(str(tokenizer_json))
    except Exception as error:  # the library raises bare Exception for a file it cannot read
        raise ConfigurationError(f"{tokenizer_json} is not a tokenizer that can be read: {error}") from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    if lowercase:
        existing = tokenizer.normalizer
        tokenizer.normalizer = NormalizerSequence([Lowercase(), existing]) if existing else Lowercase()
    return tokenizer
