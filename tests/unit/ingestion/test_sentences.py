"""Sentences end where a reader would say so, in several languages, and no text is lost between them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perplex_mono.ingestion.sentences import split_sentences


def sentences(text: str) -> list[str]:
    return [text[start:end] for start, end in split_sentences(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One. Two! Three? Four", ["One.", "Two!", "Three?", "Four"]),
        ("He left... She stayed.", ["He left...", "She stayed."]),
        ("She said “Stop.” Then she left.", ["She said “Stop.”", "Then she left."]),
        ("It ended (at last.) Nobody knew.", ["It ended (at last.)", "Nobody knew."]),
        ("tokens are spaced . Released in 2011 .", ["tokens are spaced .", "Released in 2011 ."]),
        ("So am I. You too.", ["So am I.", "You too."]),
        ("A title\n\nA paragraph", ["A title", "A paragraph"]),
        ("wrapped in\nthe middle. Next", ["wrapped in\nthe middle.", "Next"]),
        ("El fin. ¿Y ahora? Sí.", ["El fin.", "¿Y ahora?", "Sí."]),
        ("It was 1941. War came.", ["It was 1941.", "War came."]),
    ],
)
def test_sentences_end_at_closing_marks(text: str, expected: list[str]) -> None:
    assert sentences(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "Dr. Smith and Mrs. Jones met Prof. Lee.",
        "See Fig. 3 and pp. 10 of vol. 2, e.g. the table.",
        "As shown in Figs. A and B, cf. Miller.",
        "J. R. R. Tolkien wrote it.",
        "The U.S. Senate voted.",
        "It costs 3.14 or 1.000,50 at example.org today.",
        "It arrived on Jan. 3 at no. 5.",
        "“Really?” he asked.",
        "approx. five, i.e. less than six.",
        "Das gilt z.B. Montag, vgl. Abschnitt zwei.",
        "2. Second item of a list",
    ],
)
def test_abbreviations_initials_and_numbers_do_not_end_a_sentence(text: str) -> None:
    assert sentences(text) == [text]


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("今日は晴れです。明日は雨でしょう！本当ですか？はい", 4),
        ("他说：“走吧。”我们走了。", 2),
        ("यह एक वाक्य है। यह दूसरा है।", 2),
        ("هل أنت هنا؟ نعم.", 2),
        ("Это первое. Это второе.", 2),
    ],
)
def test_other_scripts_end_sentences_their_own_way(text: str, count: int) -> None:
    found = sentences(text)
    assert len(found) == count
    assert "".join(found).replace(" ", "") == text.replace(" ", "")


@given(st.text(alphabet=st.sampled_from("aB1 .!?…。！\n\t\"”)('’؟"), max_size=300))
def test_every_visible_character_is_in_exactly_one_sentence(text: str) -> None:
    spans = split_sentences(text)
    at = 0
    for start, end in spans:
        assert at <= start < end
        assert not text[at:start].strip()
        assert text[start:end] == text[start:end].strip()
        at = end
    assert not text[at:].strip()
