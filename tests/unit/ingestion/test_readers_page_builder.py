"""Pages keep offsets, numbers and limits whatever the pieces are."""

import pytest

from perplex_mono.errors import DocumentFailure
from perplex_mono.ingestion.pages import Page
from perplex_mono.ingestion.readers.contract import ReaderLimits, ReadRequest
from perplex_mono.ingestion.readers.page_builder import (
    SECTION_CHARACTERS,
    PageWriter,
    Piece,
    code,
    heading,
    list_item,
    paragraph,
)
from perplex_mono.ingestion.readers.tables import TableWriter, table
from tests.unit.ingestion.reader_files import blocks_of, check_blocks


def writer(skip_pages: frozenset[int] = frozenset(), max_pages: int = 5000) -> PageWriter:
    limits = ReaderLimits(max_pages=max_pages)
    return PageWriter(ReadRequest("p", "n", "text/plain", "a", skip_pages=skip_pages, limits=limits))


def sections(pieces: list[Piece]) -> list[Page]:
    pages = list(writer().sections(pieces))
    for page in pages:
        check_blocks(page)
    return pages


def test_blocks_point_at_their_text() -> None:
    (page,) = sections(
        [heading("A  b", 9), paragraph("one\r\ntwo\0"), list_item("x", 1), list_item("y", 2, 7), code("  z")]
    )
    assert page.text == "A b\n\none\ntwo\n\n- x\n7. y\n\n  z"
    assert [block.level for block in page.blocks] == [6, 0, 1, 2, 0]


def test_lone_surrogates_and_controls_never_reach_a_page() -> None:
    (page,) = sections([paragraph("a\ud800b\x1bc\u00add")])
    assert page.text == "abcd"


def test_a_section_is_cut_before_a_heading_and_never_after_one() -> None:
    filler = "word " * 1_900
    pages = sections([paragraph(filler), heading("Next", 1), paragraph(filler), heading("Last", 3), paragraph(filler)])
    assert [page.text.split("\n")[0][:4] for page in pages] == ["word", "Next", "Last"]


def test_long_text_is_cut_at_blanks_and_nothing_is_lost() -> None:
    words = [f"w{number}" for number in range(20_000)]
    pages = sections([paragraph(" ".join(words))])
    assert len(pages) > 5
    assert max(len(page.text) for page in pages) <= SECTION_CHARACTERS
    assert " ".join(page.text for page in pages).split() == words


def test_stored_pages_are_counted_but_not_given_again() -> None:
    pages = writer(skip_pages=frozenset({2}))
    given = [page.number for number in range(3) for page in pages.page([paragraph(f"page {number}")])]
    assert given == [1, 3]


def test_the_same_text_has_the_same_hash_on_any_page() -> None:
    pages = writer()
    hashes = [page.content_hash for text in ("a", "b", "a") for page in pages.page([paragraph(text)])]
    assert hashes[0] == hashes[2] != hashes[1]


def test_too_many_pages_fail() -> None:
    pages = writer(max_pages=1)
    list(pages.page([paragraph("a")]))
    with pytest.raises(DocumentFailure) as caught:
        list(pages.page([paragraph("b")]))
    assert caught.value.code == "too_many_pages"


def test_no_text_fails_but_text_on_stored_pages_counts() -> None:
    blank, resumed = writer(), writer(skip_pages=frozenset({1}))
    list(blank.page([]))
    list(resumed.page([paragraph("a")]))
    resumed.finish()
    with pytest.raises(DocumentFailure) as caught:
        blank.finish()
    assert caught.value.code == "no_text"


def test_a_table_is_markdown_without_blank_rows_and_columns() -> None:
    (piece,) = table([["a", "", "b|c"], ["", "", ""], ["1\n2", "", "3", ""]])
    assert piece.text == "| a | b\\|c |\n| --- | --- |\n| 1 2 | 3 |"


def test_titles_over_a_table_and_tables_of_one_column_are_paragraphs() -> None:
    assert [piece.kind for piece in table([["Title", ""], ["a", "b"], ["1", "2"]])] == ["paragraph", "table"]
    assert [piece.text for piece in table([["a"], ["b"]])] == ["a", "b"]


def test_a_long_table_repeats_its_header_on_every_page() -> None:
    rows = TableWriter()
    pieces = [piece for number in range(3_000) for piece in rows.add([str(number), "value"])] + list(rows.finish())
    pages = sections(pieces)
    assert len(pages) > 2
    assert all(page.text.startswith("| 0 | value |\n| --- | --- |\n") for page in pages)
    numbers = [text.split("\n")[2:] for _, text, _ in blocks_of(pages)]
    assert sum(map(len, numbers)) == 2_999
