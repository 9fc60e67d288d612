"""Finds where sentences end, without a model: chunks are cut there and extractive answers are made of sentences.

Rules, not statistics, because the text is in any language and must cost microseconds: a closing mark ends a sentence
unless what stands around it says otherwise (an abbreviation, an initial, a number, a lower-case continuation).
"""

import re

_CLOSERS = "\"'”’»›)\\]}」』）】》〉"
_END = re.compile(
    # Western marks need white space behind them, so 3.14, example.org and U.S.A stay whole.
    rf"(?<![.!?…])[.!?…]++[{_CLOSERS}]*+(?=\s|$)"
    # Full-width marks and those of scripts without a space after the sentence end it at once.
    rf"|(?<![。！？｡।॥؟۔։።။។])[。！？｡।॥؟۔։።။។]++[{_CLOSERS}]*+"
    # An empty line ends everything.
    r"|\n[^\S\n]*+\n\s*+"
)
_WORD_BEFORE = 24


def _words(names: str) -> frozenset[str]:
    return frozenset(names.split())


# Never the end of a sentence, whatever follows.
_ABBREVIATIONS = _words(
    "dr mr mrs ms mx prof rev hon st mt messrs gen col lt sgt capt cmdr adm gov sen rep pres supt "
    "fig figs eq eqs tab ref refs sect chap cf vs viz e.g i.e eg ie ca approx resp incl excl "
    "hr fr frau dott sig sra srta mme mlle mgr bzw z.b d.h u.a s.o vgl evtl ggf inkl zzgl"
)
# Not the end of a sentence when a number follows: "no. 5", "Jan. 3", "pp. 10", "Art. 7".
_BEFORE_NUMBER = _words(
    "no nos nr num vol vols p pp pg pt sec ch art abs app ex ed eds ser bd s n vs v para approx circa c "
    "jan feb mar apr jun jul aug sep sept oct nov dec"
)


def split_sentences(text: str) -> list[tuple[int, int]]:
    """Give the sentences of `text` as `(start, end)` offsets, in order, without the white space around them.

    All of the text except white space lies in exactly one sentence. Takes time linear in the length of the text.
    """
    sentences: list[tuple[int, int]] = []
    start = 0
    for mark in _END.finditer(text):
        if _ends_sentence(text, mark):
            _append_trimmed(sentences, text, start, mark.end())
            start = mark.end()
    _append_trimmed(sentences, text, start, len(text))
    return sentences


def trim(text: str, start: int, end: int) -> tuple[int, int]:
    """Shrink `[start, end)` to leave out white space at both sides; an empty span where there is nothing else."""
    piece = text[start:end]
    stripped = piece.lstrip()
    start = end - len(stripped)
    return start, start + len(stripped.rstrip())


def _append_trimmed(sentences: list[tuple[int, int]], text: str, start: int, end: int) -> None:
    start, end = trim(text, start, end)
    if start < end:
        sentences.append((start, end))


def _ends_sentence(text: str, mark: re.Match[str]) -> bool:
    sign = text[mark.start()]
    if sign not in ".!?…":
        return True
    following = _first_visible(text, mark.end())
    if following.islower():
        return False
    return sign != "." or text[mark.start() : mark.start() + 2] == ".." or not _is_abbreviation(text, mark, following)


def _is_abbreviation(text: str, mark: re.Match[str], following: str) -> bool:
    """Whether the full stop belongs to the word before it: "Dr.", "J.", "U.S.", or the "2." of a numbered line."""
    before = text[max(0, mark.start() - _WORD_BEFORE) : mark.start()]
    word = re.split(r"[\s(\[{\"'“‘«/–—-]", before)[-1]
    if not word:
        return False
    if len(word) <= 3 and word.isdecimal():
        lead = before[: -len(word)].rstrip(" \t")
        return lead.endswith("\n") or not lead
    letters = word.replace(".", "")
    if word[0].isupper() and letters.isalpha() and len(letters) * 2 - 1 == len(word) and word != "I":
        return True
    folded = word.lower()
    return folded in _ABBREVIATIONS or (folded in _BEFORE_NUMBER and following.isdecimal())


def _first_visible(text: str, start: int) -> str:
    """Give the first letter or digit within reach of `start`, past quotes and brackets; empty where there is none."""
    for character in text[start : start + 40]:
        if character.isalnum():
            return character
        if not (character.isspace() or character in "\"'“‘«‹([{¿¡「『（"):
            return ""
    return ""
