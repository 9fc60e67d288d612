"""PDF pages: text in reading order with boxes where the words stand, structure, and the decision for OCR."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from fpdf import FPDF

from perplex_mono.errors import DocumentFailure
from perplex_mono.ingestion.pages import Attachment, Page, PageImage, Word
from perplex_mono.ingestion.readers import pdf, render
from perplex_mono.ingestion.readers.contract import Opened, ReaderItem, ReaderLimits, ReadRequest
from perplex_mono.ingestion.readers.wire import RenderCommand
from tests import documents
from tests.documents import PROSE, drawn_pdf, raw_pdf, scanned_pdf, text_pdf


def read(path: Path, *, skip: Sequence[int] = (), limits: ReaderLimits | None = None) -> list[ReaderItem]:
    request = ReadRequest(
        path=str(path),
        name=path.name,
        media_type="application/pdf",
        attachments_dir=str(path.parent),
        skip_pages=frozenset(skip),
        limits=limits or ReaderLimits(),
    )
    return list(pdf.read(request))


def only_page(path: Path) -> Page:
    opened, page = read(path)
    assert opened == Opened("application/pdf", 1)
    assert isinstance(page, Page)
    return page


def failure_of(path: Path, limits: ReaderLimits | None = None) -> DocumentFailure:
    with pytest.raises(DocumentFailure) as caught:
        read(path, limits=limits)
    return caught.value


def find_word(page: Page, text: str) -> Word:
    return next(word for word in page.words if page.text[word.start : word.end] == text)


def test_words_and_blocks_point_into_the_text(tmp_path: Path) -> None:
    page = only_page(text_pdf(tmp_path / "a.pdf", [PROSE]))
    assert page.text == PROSE
    assert [page.text[word.start : word.end] for word in page.words] == PROSE.split()
    assert [(block.kind, block.start, block.end) for block in page.blocks] == [("paragraph", 0, len(PROSE))]


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_a_word_is_printed_where_its_box_says(tmp_path: Path, rotation: int) -> None:
    path = text_pdf(tmp_path / "a.pdf", ["lighthouse"], rotation=rotation)
    page = only_page(path)
    word = find_word(page, "lighthouse")
    box = (word.x0, word.y0, word.x1, word.y1)
    plain = render.render_page(RenderCommand(str(path), "application/pdf", 1, 1000, [], ReaderLimits()))
    ink = documents.ink_box(plain)
    assert word.x0 <= ink[0] + 0.003
    assert word.y0 <= ink[1] + 0.003
    assert word.x1 >= ink[2] - 0.003
    assert word.y1 >= ink[3] - 0.003
    assert (box[2] - box[0]) * (box[3] - box[1]) < 3 * (ink[2] - ink[0]) * (ink[3] - ink[1])
    upright = (page.width, page.height)
    assert (upright[0] > upright[1]) == (rotation in (90, 270))


def test_boxes_are_fractions_of_the_cropped_page_and_what_was_cropped_away_is_not_read(tmp_path: Path) -> None:
    content = b"BT /F1 20 Tf 150 150 Td (inside) Tj ET BT /F1 20 Tf 20 20 Td (outside) Tj ET"
    page = only_page(documents.content_pdf(tmp_path / "a.pdf", content, b"/CropBox [100 100 300 300]"))
    assert page.text == "inside"
    assert (page.width, page.height) == (200, 200)
    assert page.words[0].x0 == pytest.approx(0.25, abs=0.01)
    assert 0.6 < page.words[0].y0 < 0.75 < page.words[0].y1 < 0.8


def test_columns_drawn_line_by_line_across_the_page_are_read_one_after_the_other(tmp_path: Path) -> None:
    left = [f"left line {number} goes on and on" for number in range(8)]
    right = [f"right line {number} goes on and on" for number in range(8)]

    def draw(canvas: FPDF) -> None:
        for number in range(8):
            canvas.text(60, 100 + number * 14, left[number])
            canvas.text(320, 100 + number * 14, right[number])

    page = only_page(drawn_pdf(tmp_path / "a.pdf", draw))
    assert page.text.split() == " ".join(left + right).split()


def test_a_page_drawn_from_the_bottom_up_is_read_from_the_top_down(tmp_path: Path) -> None:
    def draw(canvas: FPDF) -> None:
        for number in reversed(range(6)):
            canvas.text(60, 100 + number * 14, f"This is line {number}.")

    page = only_page(drawn_pdf(tmp_path / "a.pdf", draw))
    assert page.text.split() == " ".join(f"This is line {number}." for number in range(6)).split()


def test_headings_lists_and_paragraphs_are_told_apart(tmp_path: Path) -> None:
    def draw(canvas: FPDF) -> None:
        canvas.set_font("helvetica", size=22)
        canvas.text(60, 80, "Annual report")
        canvas.set_font("helvetica", style="B", size=11)
        canvas.text(60, 120, "Ships at the cape")
        canvas.set_font("helvetica", size=11)
        for number, line in enumerate(["We counted ships in every month of the", "year and wrote them down here."]):
            canvas.text(60, 140 + 14 * number, line)
        for number, line in enumerate(["- sailing ships", "- steam ships", "1. all others"]):
            canvas.text(60, 190 + 14 * number, line)

    page = only_page(drawn_pdf(tmp_path / "a.pdf", draw))
    assert [(block.kind, block.level, page.text[block.start : block.end]) for block in page.blocks] == [
        ("heading", 1, "Annual report"),
        ("heading", 4, "Ships at the cape"),
        ("paragraph", 0, "We counted ships in every month of the year and wrote them down here."),
        ("list_item", 1, "- sailing ships"),
        ("list_item", 1, "- steam ships"),
        ("list_item", 1, "1. all others"),
    ]


def test_a_table_becomes_markdown_with_its_cells_in_their_columns(tmp_path: Path) -> None:
    rows = [("Month", "Ships", "Storms"), ("January", "3", "12"), ("February", "", "9"), ("March", "11", "4")]

    def draw(canvas: FPDF) -> None:
        for number, row in enumerate(rows):
            for column, cell in enumerate(row):
                canvas.text(60 + 150 * column, 100 + 16 * number, cell)

    page = only_page(drawn_pdf(tmp_path / "a.pdf", draw))
    assert [block.kind for block in page.blocks] == ["table"]
    assert page.text == (
        "| Month | Ships | Storms |\n| --- | --- | --- |\n| January | 3 | 12 |\n| February | | 9 |\n| March | 11 | 4 |"
    )
    assert find_word(page, "12").x0 > find_word(page, "3").x1


def test_a_word_hyphenated_over_a_line_end_is_joined_and_keeps_both_boxes(tmp_path: Path) -> None:
    def draw(canvas: FPDF) -> None:
        canvas.text(60, 100, "Every evening the keeper of the light-")
        canvas.text(60, 114, "house wrote down the weather.")

    page = only_page(drawn_pdf(tmp_path / "a.pdf", draw))
    assert page.text == "Every evening the keeper of the lighthouse wrote down the weather."
    first, second = find_word(page, "light"), find_word(page, "house")
    assert first.end == second.start
    assert first.y1 <= second.y0 + 0.005


def test_text_that_runs_up_the_margin_does_not_break_the_page(tmp_path: Path) -> None:
    def draw(canvas: FPDF) -> None:
        canvas.text(60, 100, "The first line of the page")
        with canvas.rotation(90, x=30, y=400):
            canvas.text(30, 400, "stamped in the margin")
        canvas.text(60, 114, "and the second line of it.")

    page = only_page(drawn_pdf(tmp_path / "a.pdf", draw))
    assert page.text == "The first line of the page and the second line of it.\n\nstamped in the margin"
    word = find_word(page, "margin")
    assert word.x1 < 0.06
    assert word.y1 - word.y0 > word.x1 - word.x0


def test_what_was_filled_into_a_form_is_read(tmp_path: Path) -> None:
    page = only_page(documents.form_pdf(tmp_path / "a.pdf", "Ingrid"))
    assert "Ingrid" in page.text


def test_a_scan_becomes_an_image_of_the_page_and_a_blank_page_stays_empty(tmp_path: Path) -> None:
    image = read(scanned_pdf(tmp_path / "scan.pdf", ["A lighthouse"]))[1]
    assert isinstance(image, PageImage)
    assert (image.width, image.height) == (1654, 2339)  # A4 at 200 dpi
    assert len(image.pixels) == image.width * image.height * 3
    assert 0 < image.pixels.count(b"\x00") < len(image.pixels) / 10
    blank = only_page(text_pdf(tmp_path / "blank.pdf", [""]))
    assert (blank.text, blank.words, blank.blocks) == ("", [], [])


def test_a_stamp_on_a_scan_is_not_taken_for_its_text(tmp_path: Path) -> None:
    def draw(canvas: FPDF) -> None:
        canvas.image(documents.picture("A long letter", (620, 877)), x=0, y=0, w=canvas.w, h=canvas.h)
        canvas.text(20, 20, "Received by the archive on 3 May, page 1 of 1")

    assert isinstance(read(drawn_pdf(tmp_path / "a.pdf", draw))[1], PageImage)


def test_a_text_layer_without_meaning_is_given_to_ocr(tmp_path: Path) -> None:
    assert isinstance(read(documents.unmapped_pdf(tmp_path / "a.pdf"))[1], PageImage)


def test_a_huge_page_is_drawn_within_the_pixel_limit(tmp_path: Path) -> None:
    path = documents.content_pdf(tmp_path / "a.pdf", b"0 0 7000 7000 re f", b"", media_box=b"[0 0 14400 14400]")
    image = read(path, limits=ReaderLimits(max_image_pixels=1_000_000))[1]
    assert isinstance(image, PageImage)
    assert 900_000 < image.width * image.height <= 1_000_000


def test_a_page_keeps_its_hash_when_another_page_of_the_file_changes(tmp_path: Path) -> None:
    def hashes(path: Path) -> list[str]:
        return [item.content_hash for item in read(path) if isinstance(item, Page | PageImage)]

    before = hashes(text_pdf(tmp_path / "a.pdf", ["one", PROSE]))
    after = hashes(text_pdf(tmp_path / "b.pdf", ["two, longer than before", PROSE]))
    assert before[0] != after[0]
    assert before[1] == after[1]
    scans = hashes(scanned_pdf(tmp_path / "c.pdf", ["one", "two"]))
    assert scans[0] != scans[1]
    assert scans[1] == hashes(scanned_pdf(tmp_path / "d.pdf", ["three", "two"]))[1]


def test_pages_already_stored_are_not_read_again(tmp_path: Path) -> None:
    items = read(text_pdf(tmp_path / "a.pdf", ["one", "two", "three"]), skip=[1, 3])
    assert items[0] == Opened("application/pdf", 3)
    assert [(item.number, item.text) for item in items[1:] if isinstance(item, Page)] == [(2, "two")]


def test_attachments_are_written_under_names_of_our_own(tmp_path: Path) -> None:
    def draw(canvas: FPDF) -> None:
        canvas.text(60, 60, "See the attached list.")
        canvas.embed_file(basename="../../list of ships.csv", bytes=b"ship,year\nArgo,1911\n")

    items = read(drawn_pdf(tmp_path / "a.pdf", draw))
    attachment = items[1]
    assert isinstance(attachment, Attachment)
    assert attachment.name == "list of ships.csv"
    assert Path(attachment.path).parent == tmp_path
    assert Path(attachment.path).read_bytes() == b"ship,year\nArgo,1911\n"


def test_an_attachment_too_large_is_left_out_with_a_warning(tmp_path: Path) -> None:
    def draw(canvas: FPDF) -> None:
        canvas.embed_file(basename="big.bin", bytes=b"x" * 2000)

    opened, *rest = read(drawn_pdf(tmp_path / "a.pdf", draw), limits=ReaderLimits(max_attachment_bytes=1000))
    assert isinstance(opened, Opened)
    assert "big.bin" in opened.warnings[0]
    assert not any(isinstance(item, Attachment) for item in rest)


def test_failures_say_what_is_wrong(tmp_path: Path) -> None:
    good = text_pdf(tmp_path / "good.pdf", ["one", "two", "three"])
    truncated = tmp_path / "cut.pdf"
    truncated.write_bytes(good.read_bytes()[:300])
    assert failure_of(truncated).code == "corrupt"
    assert failure_of(text_pdf(tmp_path / "locked.pdf", ["one"], password="secret")).code == "encrypted"
    assert failure_of(documents.pageless_pdf(tmp_path / "none.pdf")).code == "corrupt"
    assert failure_of(documents.circular_pdf(tmp_path / "circle.pdf")).code == "corrupt"
    too_many = failure_of(good, limits=ReaderLimits(max_pages=2))
    assert too_many.code == "too_many_pages"
    assert "3 pages" in str(too_many)


def test_a_wrong_cross_reference_table_is_repaired(tmp_path: Path) -> None:
    path = text_pdf(tmp_path / "good.pdf", ["The light still burns."])
    data = path.read_bytes()
    path.write_bytes(data[: data.rindex(b"startxref")] + b"startxref\n7\n%%EOF\n")
    assert only_page(path).text == "The light still burns."


def test_one_damaged_page_does_not_fail_the_others(tmp_path: Path) -> None:
    nodes = [b"<< /Type /Catalog /Pages 2 0 R >>", b"<< /Type /Pages /Kids [3 0 R 4 0 R] /Count 2 >>"]
    good = b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 300 300] >>"
    first, second = read(raw_pdf(tmp_path / "a.pdf", [*nodes, b"42", good]))[1:]
    assert isinstance(first, Page)
    assert isinstance(second, Page)
    assert first.warnings
    assert not second.warnings


def test_ligatures_and_soft_hyphens_do_not_hide_words(tmp_path: Path) -> None:
    page = only_page(
        documents.mapped_pdf(tmp_path / "a.pdf", "ABC DE", {"A": "o", "B": "\ufb03", "C": "ce", "E": "\u00adk"})
    )
    assert page.text == "office Dk"
