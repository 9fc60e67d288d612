"""Reciprocal rank fusion: lists of different scores become one by the places in them.

Cormack, Clarke and Büttcher, "Reciprocal Rank Fusion outperforms Condorcet and individual rank learning methods", 2009.
"""

from collections.abc import Mapping, Sequence


def fuse(rankings: Sequence[tuple[float, Sequence[str]]], k: int) -> dict[str, float]:
    """Weighted fusion of `(weight, ids best first)`: sum of weight / (k + rank). Best first, ties as first seen."""
    scores: dict[str, float] = {}
    for weight, ids in rankings:
        for rank, key in enumerate(ids, start=1):
            scores[key] = scores.get(key, 0.0) + weight / (k + rank)
    return dict(sorted(scores.items(), key=lambda item: -item[1]))


def ranks_of(rankings: Sequence[Sequence[str]]) -> Mapping[str, int]:
    """The place of each id in its own list, from 1: what `fuse` counts with. No id is in two lists."""
    return {key: rank for ids in rankings for rank, key in enumerate(ids, start=1)}
