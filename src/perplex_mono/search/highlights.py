"""Where the words of a query stand in a passage."""

import re
from functools import lru_cache

from perplex_mono.search.schemas import Highlight

_WORD = re.compile(r"\w+")
MAX_HIGHLIGHTS = 50
STEMMED_WORDS = 20_000
_SHORTEST_PREFIX = 4
_ENDINGS = ("ations", "ation", "ings", "ing", "edly", "ies", "ied", "ed", "es", "ly", "er", "s", "y", "e")
_STOP_WORDS = frozenset(
    {"a", "an", "and", "are", "as", "at", "be", "but", "by", "can", "did", "do", "does", "for", "from", "had", "has"}
    | {"have", "how", "i", "if", "in", "into", "is", "it", "its", "of", "on", "or", "that", "the", "their", "then"}
    | {"there", "these", "they", "this", "to", "was", "were", "what", "when", "where", "which", "who", "whom", "why"}
    | {"will", "with", "would", "you", "your"}
)


def query_terms(query: str) -> set[str]:
    """Stems of the words that carry the query's meaning; all its words when none does."""
    words = {word.lower() for word in _WORD.findall(query)}
    return {stem(word) for word in (words - _STOP_WORDS or words)}


def find_highlights(text: str, terms: set[str]) -> list[Highlight]:
    """The words of `text` that share a stem with the query, in order."""
    found = []
    for match in _WORD.finditer(text):
        if stem(match.group().lower()) in terms:
            found.append(Highlight(start=match.start(), end=match.end()))
            if len(found) == MAX_HIGHLIGHTS:
                break
    return found


@lru_cache(maxsize=STEMMED_WORDS)
def stem(word: str) -> str:
    """The word without a common English ending: coarse, only to mark words, never to find passages."""
    for ending in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= _SHORTEST_PREFIX:
            return word[: -len(ending)]
    return word
