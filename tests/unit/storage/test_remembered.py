"""What was read is remembered while nothing changes, and never longer."""

from perplex_mono.storage.remembered import Remembered


def test_a_value_holds_at_the_count_it_was_read_at_alone() -> None:
    remembered = Remembered[str](2)
    remembered.keep("a", 7, "seven")
    assert remembered.find("a", 7) == "seven"
    assert remembered.find("a", 8) is None
    assert remembered.find("b", 7) is None
    remembered.keep("a", 8, "eight")
    assert (remembered.find("a", 7), remembered.find("a", 8)) == (None, "eight")


def test_the_one_that_was_not_asked_for_gives_way() -> None:
    remembered = Remembered[str](2)
    remembered.keep("a", 1, "a")
    remembered.keep("b", 1, "b")
    assert remembered.find("a", 1) == "a"
    remembered.keep("c", 1, "c")
    assert [remembered.find(key, 1) for key in "abc"] == ["a", None, "c"]


def test_without_room_nothing_is_kept() -> None:
    remembered = Remembered[str](0)
    remembered.keep("a", 1, "a")
    assert remembered.find("a", 1) is None


def test_what_was_read_before_a_change_does_not_come_after_it() -> None:
    remembered = Remembered[str](2)
    remembered.keep("a", 8, "new")
    remembered.keep("b", 7, "old")
    assert (remembered.find("a", 8), remembered.find("b", 7), remembered.find("b", 8)) == ("new", None, None)
