"""Fusion by its formula; highlights where the words of the query stand."""

import pytest

from perplex_mono.search.fusion import fuse, ranks_of
from perplex_mono.search.highlights import MAX_HIGHLIGHTS, find_highlights, query_terms, stem


def test_the_score_is_the_weighted_sum_of_reciprocal_places() -> None:
    fused = fuse([(1.0, ["a", "b", "c"]), (0.5, ["c", "d"])], 60)
    assert fused == {
        "c": pytest.approx(1 / 63 + 0.5 / 61),
        "a": pytest.approx(1 / 61),
        "b": pytest.approx(1 / 62),
        "d": pytest.approx(0.5 / 62),
    }
    assert list(fused) == ["c", "a", "b", "d"]


def test_a_small_constant_trusts_the_first_places_more() -> None:
    """One first place against two fourth places: 1/(k+1) against 2/(k+4)."""
    rankings = [(1.0, ["first", "b", "c", "both"]), (1.0, ["d", "e", "f", "both"])]
    assert list(fuse(rankings, 1))[-1] != "both"
    assert next(iter(fuse(rankings, 1))) != "both"
    assert next(iter(fuse(rankings, 10))) == "both"


def test_ties_stay_in_the_order_of_the_lists_so_that_answers_do_not_flicker() -> None:
    assert list(fuse([(1.0, ["b"]), (1.0, ["a"])], 10)) == ["b", "a"]


def test_one_list_keeps_its_order_and_none_gives_nothing() -> None:
    ids = [f"id{number}" for number in range(50, 0, -1)]
    assert list(fuse([(1.0, ids)], 10)) == ids
    assert fuse([], 10) == {}
    assert fuse([(1.0, []), (1.0, [])], 10) == {}


def test_places_count_from_one() -> None:
    assert ranks_of([["x", "y"], ["z"], []]) == {"x": 1, "y": 2, "z": 1}


@pytest.mark.parametrize(
    ("query", "text", "marked"),
    [
        ("lighthouse", "The Lighthouse and LIGHTHOUSES.", ["Lighthouse", "LIGHTHOUSES"]),
        ("How are the ships counted?", "He counts ships; the count is low.", ["counts", "ships", "count"]),
        ("the", "Only the stop word is there.", ["the"]),
        ("Größe", "Die größe der Straße", ["größe"]),
        ("c++ & (x|y)", "c x y z", ["c", "x", "y"]),
        ("nothing", "No such words here", []),
        ("", "No query", []),
        ("灯台", "灯台 は 高い", ["灯台"]),
    ],
)
def test_words_of_the_query_are_marked(query: str, text: str, marked: list[str]) -> None:
    found = find_highlights(text, query_terms(query))
    assert [text[mark.start : mark.end] for mark in found] == marked


def test_highlights_are_bounded() -> None:
    assert len(find_highlights("word " * 1000, {"word"})) == MAX_HIGHLIGHTS


def test_stems_are_never_too_short() -> None:
    assert stem("sing") == "sing"
    assert stem("counted") == stem("counting") == stem("counts") == "count"
