"""Each way of cutting cuts where its name says."""

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from perplex_mono.errors import ConfigurationError
from perplex_mono.ingestion.chunking import find_fault, make_splitter
from perplex_mono.ingestion.chunks import Chunk, split_pages
from perplex_mono.ingestion.pages import Page
from perplex_mono.settings import ChunkStrategy
from tests.unit.ingestion.chunked_pages import BUNDLED, WORDS, embed_words, page_of, pages, prose, split

STRATEGIES = get_args(ChunkStrategy)
ALL_BUT_FIXED = [strategy for strategy in STRATEGIES if strategy != "fixed"]


def paragraphs(*texts: str) -> Page:
    return page_of(*[("paragraph", text) for text in texts])


def about(topic: str, sentences: int) -> str:
    return " ".join(f"The {topic} and another {topic} met {topic} number {at} again." for at in range(sentences))


@pytest.mark.parametrize("strategy", STRATEGIES)
@settings(deadline=None, max_examples=40)
@given(before=pages(), edited=pages(), after=pages())
def test_an_edit_of_a_page_cuts_no_other_page_anew(strategy: str, before: Page, edited: Page, after: Page) -> None:
    def cut(*texts: Page) -> list[list[tuple[int, int, str]]]:
        splitter = make_splitter(strategy, 40, 8, BUNDLED, embed_words)
        chunks = list(split_pages(splitter, [Page(n, page.text, page.blocks) for n, page in enumerate(texts, 1)]))
        return [[(c.start, c.end, c.text) for c in chunks if c.page == page] for page in range(1, len(texts) + 1)]

    first, _, last = cut(before, edited, after)
    assert cut(before, after, after)[0] == first
    assert cut(edited, edited, after)[2] == last
    assert cut(before, edited, after) == [first, cut(edited)[0], last]


@pytest.mark.parametrize("strategy", STRATEGIES)
@settings(deadline=None, max_examples=20)
@given(page=pages())
def test_the_same_page_is_always_cut_the_same(strategy: str, page: Page) -> None:
    first, again = (list(split_pages(make_splitter(strategy, 32, 8, BUNDLED, embed_words), [page])) for _ in range(2))
    assert first == again


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_blank_page_has_no_chunks(strategy: str) -> None:
    assert split(Page(number=1, text=" \n "), strategy=strategy) == []


@pytest.mark.parametrize("strategy", ALL_BUT_FIXED)
def test_headings_are_named_and_read_wherever_the_text_goes_on(strategy: str) -> None:
    page = page_of(("heading", "# Guide", 1), ("heading", "## Install", 2), ("paragraph", prose(60)))
    chunks = split(page, max_tokens=80, strategy=strategy)
    assert {chunk.heading_path for chunk in chunks} == {("Guide", "Install")}
    assert chunks[-1].input_text == "Guide > Install\n" + chunks[-1].text


def test_recursive_keeps_paragraphs_that_fit_and_joins_small_ones() -> None:
    small, large = prose(2), prose(4, start=10)
    chunks = split(paragraphs(small, small, large, small), max_tokens=32, strategy="recursive")
    assert [chunk.text for chunk in chunks] == [f"{small}\n\n{small}", large, small]


def test_recursive_takes_apart_only_what_is_too_long_and_only_as_far_as_needed() -> None:
    lines = "\n".join(f"line {at} of a list without full stops" for at in range(12))
    chunks = split(paragraphs(prose(2), lines, prose(2, start=50)), max_tokens=40, strategy="recursive")
    assert chunks[0].text == prose(2)
    assert chunks[-1].text == prose(2, start=50)
    assert all(re.fullmatch(r"(line \d+ of a list without full stops\n?)+", chunk.text) for chunk in chunks[1:-1])
    sentences = split(paragraphs(prose(40)), max_tokens=40, strategy="recursive")
    assert all(chunk.text.endswith("this.") and chunk.text.startswith("The line") for chunk in sentences)
    words = split(paragraphs("wonderful " * 200), max_tokens=40, strategy="recursive")
    assert {word for chunk in words for word in chunk.text.split()} == {"wonderful"}


def test_recursive_repeats_whole_pieces_as_overlap() -> None:
    first, second, *_ = split(paragraphs(prose(40)), max_tokens=40, overlap_tokens=10, strategy="recursive")
    assert second.start < first.end
    assert second.text.startswith("The line")


def test_sentence_fills_chunks_with_whole_sentences_across_paragraphs() -> None:
    page = paragraphs(*[prose(3, start=at * 10) for at in range(12)])
    chunks = split(page, max_tokens=40, strategy="sentence")
    assert all(chunk.text.startswith("The line") and chunk.text.endswith("this.") for chunk in chunks)
    tokens_a_sentence = len(WORDS.offsets(prose(1)))
    assert {chunk.token_count for chunk in chunks[:-1]} == {40 // tokens_a_sentence * tokens_a_sentence}
    assert any("\n\n" in chunk.text for chunk in chunks)


def test_sentence_repeats_whole_sentences_as_overlap() -> None:
    chunks = split(paragraphs(prose(40)), max_tokens=40, overlap_tokens=15, strategy="sentence")
    for before, after in pairwise(chunks):
        repeated = before.text[after.start - before.start :]
        assert re.fullmatch(r"(The line \d{4} says this\. ?)+", repeated)
        assert after.text.startswith(repeated)


def test_semantic_cuts_where_the_subject_changes_not_where_paragraphs_end() -> None:
    whole = about("harbour", 7) + " " + about("volcano", 7)
    middle = whole.index(". The volcano") + 1
    page = paragraphs(whole[: middle - 200], whole[middle - 200 :])
    chunks = split(page, max_tokens=200, strategy="semantic")
    assert ["harbour" in chunk.text for chunk in chunks] == [True, False]
    assert ["volcano" in chunk.text for chunk in chunks] == [False, True]


def test_semantic_leaves_one_subject_whole_as_far_as_it_fits() -> None:
    same = "The harbour is the harbour of the town."
    (chunk,) = split(paragraphs(" ".join([same] * 12)), max_tokens=200, strategy="semantic")
    assert chunk.text.count("harbour") == 24
    many = split(paragraphs(" ".join([same] * 60)), max_tokens=100, strategy="semantic")
    assert all(chunk.token_count >= 25 for chunk in many)
    assert len(many) <= 2 * 60 * len(WORDS.offsets(same)) // 100


def test_semantic_embeds_long_pages_in_parts() -> None:
    asked: list[int] = []

    def embed(texts: Sequence[str]) -> NDArray[np.float32]:
        asked.append(len(texts))
        return embed_words(texts)

    page = Page(number=1, text=prose(2000))
    chunks = list(split_pages(make_splitter("semantic", 100, 0, WORDS, embed), [page]))
    assert sum(asked) >= 900
    assert max(asked) <= 256
    assert chunks[-1].end == len(page.text)


def test_semantic_does_not_heed_what_the_model_gets_wrong_in_the_last_digits() -> None:
    def shaken(texts: Sequence[str]) -> NDArray[np.float32]:
        noise = np.random.default_rng(len(texts)).normal(scale=1e-6, size=(len(texts), 64))
        return (embed_words(texts) + noise).astype(np.float32)

    page = paragraphs(about("harbour", 9), about("volcano", 9), about("beekeeper", 9))
    exact, other = (
        list(split_pages(make_splitter("semantic", 100, 0, WORDS, embed), [page])) for embed in (embed_words, shaken)
    )
    assert exact == other


def test_semantic_needs_a_model() -> None:
    with pytest.raises(ConfigurationError, match="embedding model"):
        make_splitter("semantic", 200, 30, WORDS)


def parent_of(chunk: Chunk) -> tuple[int, int]:
    assert chunk.parent_start is not None
    assert chunk.parent_end is not None
    return chunk.parent_start, chunk.parent_end


@settings(deadline=None, max_examples=60)
@given(page=pages(), max_tokens=st.integers(64, 400), share=st.integers(0, 5))
def test_hierarchical_children_lie_in_parents_that_cover_the_page_without_overlap(
    page: Page, max_tokens: int, share: int
) -> None:
    splitter = make_splitter("hierarchical", max_tokens, max_tokens * share // 10, BUNDLED)
    chunks = list(split_pages(splitter, [page]))
    covered = 0
    for start, end in dict.fromkeys(parent_of(chunk) for chunk in chunks):
        assert not page.text[covered:start].strip()
        assert covered <= start
        assert len(BUNDLED.offsets(page.text[start:end])) <= max_tokens + 2
        children = [chunk for chunk in chunks if parent_of(chunk) == (start, end)]
        assert (children[0].start, children[-1].end) == (start, end)
        assert len({child.heading_path for child in children}) == 1
        covered = end
    assert not page.text[covered:].strip()
    assert all(chunk.token_count <= max(16, max_tokens // 4) for chunk in chunks)


def test_hierarchical_parents_are_cut_as_by_structure() -> None:
    page = page_of(
        ("heading", "One", 1), ("paragraph", prose(20)), ("heading", "Two", 1), ("paragraph", prose(20, start=50))
    )
    children = split(page, max_tokens=160, strategy="hierarchical")
    parents = [page.text[start:end] for start, end in dict.fromkeys(parent_of(child) for child in children)]
    assert parents == [f"One\n\n{prose(20)}", f"Two\n\n{prose(20, start=50)}"]
    assert len(children) >= 8
    assert children[-1].input_text == "Two\n" + children[-1].text


def test_other_ways_of_cutting_know_no_parents() -> None:
    for strategy in STRATEGIES:
        if strategy != "hierarchical":
            assert {chunk.parent_start for chunk in split(paragraphs(prose(30)), strategy=strategy)} == {None}


@pytest.mark.parametrize(
    ("strategy", "max_tokens", "overlap_tokens", "said"),
    [
        ("magic", 200, 30, "one of structure, fixed, recursive, sentence, semantic, hierarchical"),
        ("sentence", 251, 30, "a value from 16 to 250"),
        ("hierarchical", 1001, 30, "a value from 16 to 1000"),
        ("recursive", 200, 101, "between 0 and 100"),
    ],
)
def test_what_cannot_work_is_named_with_what_would(
    strategy: str, max_tokens: int, overlap_tokens: int, said: str
) -> None:
    assert said in (find_fault(strategy, max_tokens, overlap_tokens, WORDS) or "")
    with pytest.raises(ConfigurationError, match=said):
        make_splitter(strategy, max_tokens, overlap_tokens, WORDS)


def test_parents_may_be_larger_than_what_the_model_reads() -> None:
    assert find_fault("hierarchical", 1000, 100, WORDS) is None
