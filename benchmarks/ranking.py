"""Reference rankings in plain numpy: BM25, reciprocal rank fusion, score fusion, and nDCG to compare them by."""

import math
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.float64]
"""One row a query, one column a chunk; larger is better."""
Ranking = NDArray[np.int64]
"""One row a query: columns of `Scores`, best first."""

_STOP_WORDS = frozenset(
    re.findall(
        r"\w+",
        "a an and are as at be but by for if in into is it no not of on or such that the their then there these they "
        "this to was will with",
    )
)
_SUFFIXES = ("ations", "ation", "ingly", "edly", "ments", "ment", "ings", "ing", "ies", "ed", "es", "ly", "s")


def terms(text: str) -> list[str]:
    """Give the words of a text, lower case, without stop words, their English suffixes roughly removed."""
    return [_stem(word) for word in re.findall(r"\w+", text.lower()) if word not in _STOP_WORDS]


def bm25(texts: Sequence[str], queries: Sequence[str], k1: float = 0.9, b: float = 0.4) -> Scores:
    """Score every text for every query (Robertson and Zaragoza 2009, with Lucene's never negative idf)."""
    counts = [Counter(terms(text)) for text in texts]
    lengths = np.array([sum(count.values()) for count in counts], dtype=np.float64)
    norms = k1 * (1 - b + b * lengths / max(1.0, lengths.mean()))
    postings: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for at, count in enumerate(counts):
        for term, occurrences in count.items():
            postings[term].append((at, occurrences))
    scores = np.zeros((len(queries), len(texts)))
    for row, query in zip(scores, queries, strict=True):
        for term in terms(query):
            if found := postings.get(term):
                at, frequency = np.array(found).T
                idf = math.log(1 + (len(texts) - len(found) + 0.5) / (len(found) + 0.5))
                row[at] += idf * frequency * (k1 + 1) / (frequency + norms[at])
    return scores


def ranked(scores: Scores) -> Ranking:
    """Order the columns of each row, best first; ties in the order of columns."""
    return np.argsort(-scores, axis=1, kind="stable")


def by_rank(dense: Scores, sparse: Scores, k: int, sparse_weight: float, candidates: int = 100) -> Ranking:
    """Fuse by reciprocal ranks (Cormack et al. 2009); the dense arm weighs 1, only terms that match count as sparse."""
    fused = np.zeros_like(dense)
    for scores, weight in ((dense, 1.0), (sparse, sparse_weight)):
        for query, order in enumerate(ranked(scores)[:, :candidates]):
            kept = order if scores is dense else order[scores[query, order] > 0]
            fused[query, kept] += weight / (k + 1 + np.arange(len(kept)))
    return ranked(fused)


def by_score(dense: Scores, sparse: Scores, sparse_share: float, candidates: int = 50) -> Ranking:
    """Fuse by scores: each arm's best `candidates` scaled to 0..1, then a convex combination (Bruch et al. 2023).

    The scale runs from the arm's last candidate, or 0 where fewer match, to its best; what is no candidate counts 0.
    """
    return ranked((1 - sparse_share) * _scaled(dense, candidates) + sparse_share * _scaled(sparse, candidates))


def ndcg(owners: Sequence[str], relevant: Mapping[str, int], k: int = 10) -> float:
    """Measure nDCG at `k` of documents in the order of their best chunk; `owners` are those of the ranked chunks."""
    documents = list(dict.fromkeys(owners))[:k]
    gain = sum(relevant.get(document, 0) / math.log2(at + 2) for at, document in enumerate(documents))
    ideal = sum(grade / math.log2(at + 2) for at, grade in enumerate(sorted(relevant.values(), reverse=True)[:k]))
    return gain / ideal


def _scaled(scores: Scores, candidates: int) -> Scores:
    last = max(scores.shape[1] - candidates, 0)
    low = np.partition(scores, last, axis=1)[:, last, None]
    high = scores.max(axis=1, keepdims=True)
    scaled: Scores = np.clip((scores - low) / np.maximum(high - low, 1e-9), 0.0, 1.0)
    return scaled


def _stem(word: str) -> str:
    for suffix in _SUFFIXES:
        if word.endswith(suffix) and len(word) - len(suffix) >= 3:
            word = word[: -len(suffix)] + ("y" if suffix == "ies" else "")
            break
    return word[:-1] if word.endswith("e") and len(word) > 4 else word
