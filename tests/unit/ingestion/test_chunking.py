"""Chunks keep all the text, fit the model, and are cut where a reader would cut."""

import hashlib
import re
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perplex_mono.errors import ConfigurationError
from perplex_mono.ingestion.chunking import make_splitter
from perplex_mono.ingestion.chunks import split_pages
from perplex_mono.ingestion.pages import BlockKind, Page
from perplex_mono.settings import ChunkStrategy
from tests.unit.ingestion.chunked_pages import BUNDLED, WORDS, embed_words, page_of, pages, prose, split

CUT_WORD_TOKENS = 2


@pytest.mark.parametrize("strategy", get_args(ChunkStrategy))
@settings(deadline=None, max_examples=100)
@given(page=pages(), max_tokens=st.integers(16, 120), share=st.integers(0, 5))
def test_all_text_is_kept_in_order_and_fits_the_model(strategy: str, page: Page, max_tokens: int, share: int) -> None:
    overlap_tokens = max_tokens * share // 10
    splitter = make_splitter(strategy, max_tokens, overlap_tokens, BUNDLED, embed_words)
    covered, previous = 0, (-1, 0)
    for chunk in split_pages(splitter, [page]):
        assert page.text[chunk.start : chunk.end] == chunk.text == chunk.text.strip()
        assert chunk.text
        assert (chunk.start, chunk.end) > previous
        assert previous[0] < chunk.start
        assert previous[1] < chunk.end
        assert not page.text[covered : chunk.start].strip()
        repeated = page.text[chunk.start : max(covered, chunk.start)]
        assert len(BUNDLED.offsets(repeated)) <= overlap_tokens + CUT_WORD_TOKENS
        assert chunk.token_count <= max_tokens
        assert len(BUNDLED.offsets(chunk.text)) <= chunk.token_count + CUT_WORD_TOKENS
        assert len(BUNDLED.offsets(chunk.input_text)) + BUNDLED.special_tokens <= BUNDLED.max_tokens
        assert chunk.input_text.endswith(chunk.text)
        covered, previous = chunk.end, (chunk.start, chunk.end)
    assert not page.text[covered:].strip()


def test_the_real_token_count_is_exact_for_ordinary_text() -> None:
    page = Page(number=1, text=prose(200))
    for chunk in split_pages(make_splitter("structure", 200, 30, BUNDLED), [page]):
        assert len(BUNDLED.offsets(chunk.text)) == chunk.token_count


def test_a_chunk_says_where_it_stands_and_what_the_model_reads() -> None:
    page = page_of(("heading", "# Guide", 1), ("heading", "## Install", 2), ("paragraph", prose(20)), number=7)
    first, second, *_ = split(page)
    assert first.page == 7
    assert first.text.startswith("# Guide\n\n## Install\n\nThe line 0000")
    assert first.heading_path == second.heading_path == ("Guide", "Install")
    assert first.input_text == first.text
    assert second.input_text == "Guide > Install\n" + second.text
    assert second.input_hash == hashlib.sha256(second.input_text.encode()).hexdigest()


def test_chunks_restart_at_headings() -> None:
    page = page_of(
        ("heading", "One", 1), ("paragraph", prose(16)), ("heading", "Two", 1), ("paragraph", prose(16, start=50))
    )
    chunks = split(page, max_tokens=120)
    assert [chunk.heading_path for chunk in chunks] == [("One",), ("Two",)]
    assert chunks[1].text.startswith("Two")


def test_short_sections_share_a_chunk_under_their_common_heading() -> None:
    page = page_of(
        ("heading", "Trip", 1),
        ("heading", "Day one", 2),
        ("paragraph", "We sailed."),
        ("heading", "Day two", 2),
        ("paragraph", "We slept."),
    )
    (chunk,) = split(page)
    assert chunk.heading_path == ("Trip",)
    assert chunk.text == page.text.strip()


def test_a_heading_is_not_left_alone_when_text_follows() -> None:
    pieces: list[tuple[BlockKind, str, int]] = []
    for at in range(12):
        pieces += [("heading", f"Section {at}", 2), ("paragraph", prose(at + 1), 0)]
    for chunk in split(page_of(*pieces)):
        assert "The line" in chunk.text
        assert not re.search(r"Section \d+$", chunk.text)


def test_heading_path_carries_over_pages_until_it_is_replaced() -> None:
    def document(title: str) -> list[Page]:
        return [
            page_of(("heading", title, 1), ("paragraph", prose(3))),
            page_of(("paragraph", prose(3, 10)), number=2),
            page_of(("heading", "Other", 1), ("paragraph", prose(3, 20)), number=3),
            page_of(("paragraph", prose(3, 30)), number=4),
        ]

    splitter = make_splitter("structure", 40, 0, WORDS)
    before, after = (list(split_pages(splitter, document(title))) for title in ("Old", "New"))
    assert [chunk.heading_path for chunk in before] == [("Old",), ("Old",), ("Other",), ("Other",)]
    assert before[1].input_text.startswith("Old\nThe line 0010")
    changed = [old.page for old, new in zip(before, after, strict=True) if old.input_hash != new.input_hash]
    assert changed == [1, 2]


def test_an_edit_of_one_page_changes_only_its_chunks() -> None:
    pages = [page_of(("paragraph", prose(30, start=at * 100)), number=at + 1) for at in range(3)]
    edited = [pages[0], page_of(("paragraph", "New words. " + pages[1].text), number=2), pages[2]]
    splitter = make_splitter("structure", 40, 8, WORDS)
    old, new = (list(split_pages(splitter, version)) for version in (pages, edited))
    assert [chunk for chunk in old if chunk.page != 2] == [chunk for chunk in new if chunk.page != 2]


def test_cuts_prefer_paragraphs_to_sentences() -> None:
    chunks = split(page_of(*[("paragraph", prose(4, start=at * 10)) for at in range(4)]), max_tokens=40)
    assert [chunk.text for chunk in chunks] == [prose(4, start=at * 10) for at in range(4)]


def test_overlap_repeats_whole_sentences() -> None:
    first, second, *_ = split(page_of(("paragraph", prose(30))), max_tokens=40, overlap_tokens=10)
    assert second.start < first.end
    assert first.text.endswith(first.text[-len("The line 0005 says this.") :])
    assert second.text.startswith("The line ")
    assert first.text[second.start - first.start :] == second.text[: first.end - second.start]


def test_no_scrap_is_left_behind_a_full_chunk() -> None:
    for count in range(5, 40):
        chunks = split(page_of(("paragraph", prose(count))), max_tokens=60)
        assert len(chunks) == 1 or min(chunk.token_count for chunk in chunks) >= 10


def test_later_rows_of_a_table_repeat_its_header() -> None:
    rows = "\n".join(f"| item {at} | {at * 3} |" for at in range(30))
    page = page_of(("paragraph", "Stock."), ("table", f"| name | count |\n| --- | --- |\n{rows}"))
    first, *rest = split(page)
    assert "| --- | --- |\n| item 0 | 0 |" in first.text
    assert len(rest) > 2
    for chunk in rest:
        assert chunk.input_text == "| name | count |\n" + chunk.text
        assert chunk.text.startswith("| item ")
        assert chunk.text.endswith(" |")
        assert len(WORDS.offsets(chunk.input_text)) <= 40


def test_code_is_cut_between_lines_and_keeps_its_indentation() -> None:
    code = "def f():\n" + "\n".join(f"    value_{at} = {at}" for at in range(40))
    for chunk in split(page_of(("code", code))):
        assert re.fullmatch(r"def f\(\):|value_\d+ = \d+", chunk.text.splitlines()[0])
        assert all(line.startswith("    value_") for line in chunk.text.splitlines()[1:])


def test_text_without_sentence_ends_is_cut_at_lines_and_long_lines_between_words() -> None:
    lines = split(page_of(("paragraph", "\n".join(f"item {at} costs {at}" for at in range(60)))))
    assert all(re.match(r"item \d+ costs \d+", chunk.text) for chunk in lines)
    words = split(page_of(("paragraph", " ".join(["wonderful"] * 200))))
    assert {word for chunk in words for word in chunk.text.split()} == {"wonderful"}


def test_long_headings_are_trimmed_from_the_outside_inwards() -> None:
    long = "very " * 300
    page = page_of(("heading", long, 1), ("heading", "Inner", 2), ("paragraph", prose(60)))
    last = list(split_pages(make_splitter("structure", 200, 30, WORDS), [page]))[-1]
    assert last.input_text.startswith("Inner\nThe line")
    alone = page_of(("heading", long, 1), ("paragraph", prose(60)))
    last = list(split_pages(make_splitter("structure", 200, 30, WORDS), [alone]))[-1]
    assert last.input_text.startswith("very very")
    assert len(WORDS.offsets(last.input_text)) <= WORDS.max_tokens - WORDS.special_tokens


def test_fixed_windows_overlap_by_the_given_number_of_tokens() -> None:
    page = Page(number=1, text=" ".join(f"w{at:02}" for at in range(100)))
    chunks = split(page, max_tokens=20, overlap_tokens=5, strategy="fixed")
    assert [chunk.token_count for chunk in chunks[:-1]] == [20] * (len(chunks) - 1)
    assert chunks[1].text.startswith("w15 ")
    assert all(chunk.input_text == chunk.text for chunk in chunks)


@pytest.mark.parametrize(("max_tokens", "overlap_tokens"), [(15, 0), (251, 0), (200, 101), (200, -1)])
def test_settings_that_cannot_work_are_refused(max_tokens: int, overlap_tokens: int) -> None:
    with pytest.raises(ConfigurationError, match="chunking"):
        make_splitter("structure", max_tokens, overlap_tokens, WORDS)


def test_a_blank_page_has_no_chunks() -> None:
    assert split(Page(number=1, text=" \n ")) == []
