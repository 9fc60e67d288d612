"""Makes a page of text from what OCR saw: reading order, paragraphs, and where each word stands.

Lines of prose flow into paragraphs; the lines of receipts, addresses and tables stay lines.
"""

from dataclasses import dataclass, field
from statistics import median

from perplex_mono.inference.ocr import OcrLine, OcrPage
from perplex_mono.ingestion.ocr_columns import Column, Row, columns_in_order
from perplex_mono.ingestion.pages import Block, BlockKind, Page, PageImage, Word

_FULL_ROW = 0.85
_FLOWING_WORDS = 3
_PARAGRAPH_GAP = 0.7
_SAME_SIZE = 1.35
_HEADING_SIZE = 1.5
_HEADING_WORDS = 12
_MIN_ROWS_FOR_HEADINGS = 5


def page_from_ocr(image: PageImage, result: OcrPage, *, min_confidence: float = 0.6) -> Page:
    """Give the page that `image` shows. Lines under `min_confidence` (0..1) are taken for specks and dropped.

    Width and height are those of the upright page. A page on which nothing was read has empty text and confidence 0.
    """
    lines = [line for line in result.lines if line.confidence >= min_confidence and line.text.strip()]
    size = (image.page_width or float(image.width), image.page_height or float(image.height))
    width, height = size if result.rotation in (0, 180) else (size[1], size[0])
    columns = columns_in_order(lines, height / width)
    writer = _Writer(usual_height=_usual_height(columns))
    for column in columns:
        writer.write(column)
    return Page(
        number=image.number,
        text="".join(writer.parts),
        blocks=writer.blocks,
        words=writer.words,
        width=width,
        height=height,
        source="ocr",
        confidence=_confidence(lines),
        label=image.label,
        content_hash=image.content_hash,
    )


def _usual_height(columns: list[Column]) -> float:
    """The page's line height; 0 when there are too few rows to call any of them large."""
    heights = [_height(row) for column in columns for row in column.rows]
    return median(heights) if len(heights) >= _MIN_ROWS_FOR_HEADINGS else 0.0


def _confidence(lines: list[OcrLine]) -> float:
    """The mean over all characters."""
    characters = sum(len(line.text) for line in lines)
    return sum(line.confidence * len(line.text) for line in lines) / characters if characters else 0.0


@dataclass
class _Writer:
    """The page's text so far. `usual_height` is a fraction of the page."""

    usual_height: float
    parts: list[str] = field(default_factory=list)
    blocks: list[Block] = field(default_factory=list)
    words: list[Word] = field(default_factory=list)
    length: int = 0

    def write(self, column: Column) -> None:
        """Add a column, a block for each run of rows that stand close together and are of one kind."""
        kind: BlockKind | None = None
        start = 0
        for index, row in enumerate(column.rows):
            previous = column.rows[index - 1] if index else None
            row_kind: BlockKind = "heading" if self._is_heading(row) else "paragraph"
            if previous is not None and row_kind == kind and _continues(previous, row):
                self._add(" " if kind == "heading" or _flows(previous, row, column) else "\n")
            else:
                self._close(kind, start)
                kind, start = row_kind, self._open()
            self._add_row(row)
        self._close(kind, start)

    def _open(self) -> int:
        if self.parts:
            self._add("\n\n")
        return self.length

    def _close(self, kind: BlockKind | None, start: int) -> None:
        if kind is not None:
            self.blocks.append(Block(kind, start, self.length, 1 if kind == "heading" else 0))

    def _add(self, text: str) -> None:
        self.parts.append(text)
        self.length += len(text)

    def _add_row(self, row: Row) -> None:
        for index, line in enumerate(row):
            if index:
                self._add(" ")
            self.words += [
                Word(
                    start=self.length + word.start,
                    end=self.length + word.end,
                    x0=word.box.x0,
                    y0=word.box.y0,
                    x1=word.box.x1,
                    y1=word.box.y1,
                    confidence=word.confidence,
                )
                for word in line.words
            ]
            self._add(line.text)

    def _is_heading(self, row: Row) -> bool:
        large = bool(self.usual_height) and _height(row) >= _HEADING_SIZE * self.usual_height
        return large and len(row) == 1 and len(row[0].words) <= _HEADING_WORDS and any(map(str.isalpha, row[0].text))


def _continues(previous: Row, row: Row) -> bool:
    """Whether two rows stand as close, and are as high, as rows of one block."""
    heights = sorted((_height(previous), _height(row)))
    gap = _top(row) - _top(previous) - _height(previous)
    return gap <= _PARAGRAPH_GAP * heights[1] and heights[1] <= _SAME_SIZE * heights[0]


def _flows(previous: Row, row: Row, column: Column) -> bool:
    """Whether the text runs on from a row that fills its column, as prose does and a list of items does not."""
    if len(previous) > 1 or len(row) > 1:
        return False
    full = previous[0].box.x1 >= column.left + _FULL_ROW * (column.right - column.left)
    return full and len(previous[0].words) >= _FLOWING_WORDS


def _height(row: Row) -> float:
    return median(line.box.y1 - line.box.y0 for line in row)


def _top(row: Row) -> float:
    return median(line.box.y0 for line in row)
