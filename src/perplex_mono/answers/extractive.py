"""An answer in the documents' own words: the best sentences of the best passages. Needs no language model."""

import asyncio
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from perplex_mono.inference.embedder import Embedder
from perplex_mono.ingestion.sentences import split_sentences, trim
from perplex_mono.search.highlights import find_highlights, query_terms
from perplex_mono.search.schemas import Hit

MIN_SENTENCE_CHARS = 20
MAX_SENTENCE_CHARS = 600
MIN_WORD_SHARE = 0.75
SENTENCE_ENDS = frozenset(".!?…。！？।؟")
SCORED_SENTENCES = 24
MIN_SUPPORT = 0.30
SUPPORT_OF_BEST = 0.75
LEXICAL_WEIGHT = 0.3
REPEATED_SIMILARITY = 0.92
_LIST_MARK = re.compile(r"(?m)^[^\S\n]*(?:[-*•]|\d{1,3}[.)])[^\S\n]+")


@dataclass(frozen=True)
class Quote:
    """A sentence of a hit: `hit.text[start:end]`. `support` is its cosine similarity with the question."""

    hit: Hit
    start: int
    end: int
    support: float

    @property
    def text(self) -> str:
        """The quoted words."""
        return self.hit.text[self.start : self.end]


class ExtractiveWriter:
    """Chooses sentences by meaning and by the words of the question."""

    name = "extractive"

    def __init__(self, embedder: Embedder, *, max_sentences: int = 5) -> None:
        self._embedder = embedder
        self._max_sentences = max_sentences

    async def write(self, question: str, hits: Sequence[Hit]) -> list[Quote]:
        """The sentences that answer, best passage first and in the order of the text; empty when none does."""
        terms = query_terms(question)
        candidates = _candidates(hits, terms)
        if not candidates:
            return []
        texts = [hit.text[start:end] for hit, start, end, _ in candidates]
        vectors = await asyncio.gather(
            self._embedder.embed_query(question), *(self._embedder.embed_query(text) for text in texts)
        )
        sentences = np.stack(vectors[1:])
        supports = sentences @ vectors[0]
        shares = np.array([share for *_, share in candidates])
        chosen = _choose(supports, shares, sentences, self._max_sentences)
        quotes = [Quote(*candidates[at][:3], support=round(float(supports[at]), 4)) for at in chosen]
        order = {hit.chunk_id: place for place, hit in enumerate(hits)}
        return sorted(quotes, key=lambda quote: (order[quote.hit.chunk_id], quote.start))


def _candidates(hits: Sequence[Hit], terms: set[str]) -> list[tuple[Hit, int, int, float]]:
    """Sentences worth scoring, each with the share of the question's words it holds; the most promising only."""
    found: list[tuple[Hit, int, int, float]] = []
    seen: set[str] = set()
    for hit in hits:
        for start, end in _quotable(hit.text):
            text = hit.text[start:end]
            if text in seen or not reads_as_sentence(text):
                continue
            seen.add(text)
            words = {text[mark.start : mark.end].lower() for mark in find_highlights(text, terms)}
            found.append((hit, start, end, min(1.0, len(words) / max(1, len(terms)))))
    ranked = sorted(range(len(found)), key=lambda at: (-found[at][3], at))
    return [found[at] for at in sorted(ranked[:SCORED_SENTENCES])]


def _quotable(text: str) -> Iterator[tuple[int, int]]:
    """Sentences of the text without the marks of list items, which end a sentence too."""
    for start, end in split_sentences(text):
        borders = [start, *(mark.start() for mark in _LIST_MARK.finditer(text, start + 1, end)), end]
        for first, last in pairwise(borders):
            mark = _LIST_MARK.match(text, first, last)
            yield trim(text, mark.end() if mark else first, last)


def reads_as_sentence(text: str) -> bool:
    """Whether the piece is worth quoting: no heading, reference, address or row of figures."""
    if not MIN_SENTENCE_CHARS <= len(text) <= MAX_SENTENCE_CHARS or "://" in text or text.startswith("|"):
        return False
    words = sum(character.isalpha() or character.isspace() for character in text)
    return words >= MIN_WORD_SHARE * len(text) and text.rstrip("\"'”’»)]」』")[-1:] in SENTENCE_ENDS


def _choose(
    supports: "np.ndarray[tuple[int], np.dtype[np.float32]]",
    shares: "np.ndarray[tuple[int], np.dtype[np.float64]]",
    sentences: "np.ndarray[tuple[int, int], np.dtype[np.float32]]",
    limit: int,
) -> list[int]:
    """Places of the sentences to quote: near the question, near the best one, and not saying the same twice."""
    scores = supports + LEXICAL_WEIGHT * shares
    best = float(scores.max())
    chosen: list[int] = []
    for at in np.argsort(-scores):
        is_weak = supports[at] < MIN_SUPPORT or scores[at] < SUPPORT_OF_BEST * best
        if is_weak or any(float(sentences[at] @ sentences[other]) > REPEATED_SIMILARITY for other in chosen):
            continue
        chosen.append(int(at))
        if len(chosen) == limit:
            break
    return chosen
