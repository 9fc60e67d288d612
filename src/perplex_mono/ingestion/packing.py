"""Chooses where chunks begin and end among the units of a section: full, and cut at the best place within reach."""

from collections.abc import Iterator, Sequence

from perplex_mono.ingestion.units import Break, Unit

# Shares of the wanted size that a chunk should reach; the second where the first offers only cuts inside a sentence.
_FLOORS = (0.6, 0.25)
# Up to this many times the budget the rest is halved instead of leaving a scrap behind a full chunk.
_HALVE_BELOW = 1.25


def pack(units: Sequence[Unit], max_tokens: int, overlap_tokens: int) -> Iterator[tuple[int, int]]:
    """Give chunks as ranges `[first, last)` of units that cover all units, in order.

    A range holds at most `max_tokens`, counting the table header that its first unit repeats, as long as every unit
    does. It begins with whole units of the range before it, up to `overlap_tokens`.
    """
    first = last = 0
    while last < len(units):
        seen = last
        header = units[first].header
        budget = max_tokens - (header.tokens if header else 0)
        last = furthest(units, first, budget)
        if last < len(units):
            last = _best_cut(units, first, seen, last, budget)
        yield first, last
        if last < len(units):
            first = overlap_start(units, first, last, max_tokens, overlap_tokens)


def size(units: Sequence[Unit], first: int, last: int) -> int:
    """Count the tokens of the text from unit `first` up to unit `last`, exclusive."""
    return units[last - 1].last_token - units[first].first_token


def strength(units: Sequence[Unit], cut: int) -> Break:
    """Tell how good a place the border in front of unit `cut` is; between a heading and its text it is none."""
    return Break.GLUED if units[cut - 1].block.kind == "heading" else units[cut].brk


def furthest(units: Sequence[Unit], first: int, budget: int) -> int:
    """Give where to end so that `units[first:end]` is as much as fits `budget` tokens, one unit at least."""
    last = first + 1
    while last < len(units) and size(units, first, last + 1) <= budget:
        last += 1
    return last


def _best_cut(units: Sequence[Unit], first: int, seen: int, reach: int, budget: int) -> int:
    """Give the cut in `(seen, reach]` at the strongest break, among equals the one nearest to the wanted size."""
    rest = size(units, first, len(units))
    wanted = rest / 2 if rest <= _HALVE_BELOW * budget else budget
    best, best_value = reach, (Break.GLUED, -float(rest))
    floors = iter(_FLOORS)
    floor = next(floors) * wanted
    for cut in range(reach, seen, -1):
        length = size(units, first, cut)
        while length < floor:
            if best_value[0] >= Break.SENTENCE:
                return best
            floor = next(floors, 0.0) * wanted
        value = strength(units, cut), -abs(length - wanted)
        if value > best_value:
            best, best_value = cut, value
    return best


def overlap_start(units: Sequence[Unit], first: int, last: int, max_tokens: int, overlap_tokens: int) -> int:
    """Go back from `last` over whole units that fit; never over a heading or a table row, repeated otherwise."""
    start = last
    if units[last].header is not None:
        return start
    while (
        start - 1 > first
        and units[start - 1].block.kind not in ("heading", "table")
        and size(units, start - 1, last) <= overlap_tokens
        and size(units, start - 1, last + 1) <= max_tokens
    ):
        start -= 1
    return start
