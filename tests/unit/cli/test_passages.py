"""What is shown of documents: only text, around the words that were found."""

import io
import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from perplex_mono.cli.passages import excerpt, page_name
from perplex_mono.cli.plain_text import one_line, printable, printable_json
from perplex_mono.library.media_types import CSV, DOCX, EPUB, HTML, MARKDOWN, ODP, PDF, PLAIN_TEXT, PPTX, XLS, XLSX

HOSTILE = "red \x1b[31mtext\x1b]0;title\x07 \x9b2J \x08back \u202egnp.exe \x00nul \x7f"


def test_no_control_character_survives() -> None:
    shown = printable(HOSTILE)
    assert len(shown) == len(HOSTILE)
    assert not any(ord(c) < 32 or 127 <= ord(c) < 160 or c == "\u202e" for c in shown)
    assert "[31mtext" in shown


@given(st.text())
def test_printable_text_keeps_its_length_and_holds_no_escape(text: str) -> None:
    shown = printable(text)
    assert len(shown) == len(text)
    assert not set(shown) & set("\x1b\x9b\x07\x08\r\x00\u202e")
    assert "\n" not in one_line(text)
    shown.encode()


def test_json_stays_equal_and_without_raw_control_characters() -> None:
    document = msgspec.json.encode({"text": HOSTILE})
    escaped = printable_json(document)
    assert json.loads(escaped) == {"text": HOSTILE}
    assert not any(ord(c) < 32 or 127 <= ord(c) < 160 for c in escaped.decode())


def marked(text: str, words: list[str], max_chars: int) -> tuple[str, list[str]]:
    found = [(text.index(word), text.index(word) + len(word)) for word in words]
    shown = excerpt(text, found, max_chars)
    return shown.text, [shown.text[start:end] for start, end in shown.marks]


def test_a_short_passage_is_shown_whole_with_its_words_marked() -> None:
    text = "One\n\n  two\tthree   four "
    assert marked(text, ["two", "four"], 200) == ("One two three four", ["two", "four"])


def test_a_long_passage_is_cut_where_most_different_words_stand() -> None:
    filler = "nothing to see here " * 60
    text = f"alpha {filler}alpha beta gamma together {filler}gamma"
    at = text.index("alpha beta")
    found = [(0, 5), (at, at + 5), (at + 6, at + 10), (at + 11, at + 16), (len(text) - 5, len(text))]
    shown = excerpt(text, found, 200)
    assert "alpha beta gamma together" in shown.text
    assert [shown.text[start:end] for start, end in shown.marks] == ["alpha", "beta", "gamma"]
    assert shown.text.startswith("… ")
    assert shown.text.endswith(" …")
    assert len(shown.text) <= 204


def test_words_at_the_very_end_are_shown() -> None:
    text = "blah " * 300 + "treasure"
    shown, words = marked(text, ["treasure"], 120)
    assert words == ["treasure"]
    assert shown.endswith("treasure")


def test_a_passage_without_found_words_begins_at_its_beginning() -> None:
    shown = excerpt("First words. " + "more " * 200, [], 60)
    assert shown.text.startswith("First words.")
    assert shown.marks == []


def test_marks_out_of_range_are_ignored() -> None:
    assert excerpt("short", [(-1, 3), (2, 99), (3, 3)], 80).marks == []


@given(
    st.text(max_size=400),
    st.lists(st.tuples(st.integers(-5, 420), st.integers(-5, 420)), max_size=8),
    st.integers(60, 200),
)
def test_any_passage_can_be_shown(text: str, found: list[tuple[int, int]], max_chars: int) -> None:
    shown = excerpt(text, found, max_chars)
    assert len(shown.text) <= max_chars + 4
    assert all(0 <= start < end <= len(shown.text) for start, end in shown.marks)


def test_found_words_are_bold_on_a_terminal_and_plain_in_a_pipe() -> None:
    shown = excerpt("the keeper counts [red]ships[/red]", [(4, 10)], 80).to_rich()
    terminal, pipe = io.StringIO(), io.StringIO()
    Console(file=terminal, force_terminal=True, color_system="standard", highlight=False).print(shown)
    Console(file=pipe, highlight=False).print(shown)
    assert terminal.getvalue() == "the \x1b[1mkeeper\x1b[0m counts [red]ships[/red]\n"
    assert pipe.getvalue() == "the keeper counts [red]ships[/red]\n"


@pytest.mark.parametrize("media_type", [PDF, PPTX, ODP, XLSX, XLS, CSV, "image/png", "image/tiff"])
def test_paged_kinds_have_pages(media_type: str) -> None:
    assert page_name(media_type, 3) == "page 3"


@pytest.mark.parametrize("media_type", [DOCX, HTML, MARKDOWN, PLAIN_TEXT, EPUB, "message/rfc822"])
def test_other_kinds_have_sections(media_type: str) -> None:
    assert page_name(media_type, 3) == "section 3"
