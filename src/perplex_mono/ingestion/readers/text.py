"""Plain text in any encoding, streamed: paragraphs are what blank lines divide."""

from collections.abc import Iterable, Iterator

from perplex_mono.ingestion.readers.contract import Opened, ReaderItem, ReadRequest
from perplex_mono.ingestion.readers.decoding import lines_of, text_chunks
from perplex_mono.ingestion.readers.page_builder import SECTION_CHARACTERS, PageWriter, Piece, paragraph
from perplex_mono.library.media_types import PLAIN_TEXT


def read(request: ReadRequest) -> Iterator[ReaderItem]:
    """Read plain text as sections; memory does not depend on the length of the file or of its lines."""
    pages = PageWriter(request)
    yield Opened(PLAIN_TEXT, None)
    yield from pages.sections(paragraphs(lines_of(text_chunks(request.path))))
    pages.finish()


def paragraphs(lines: Iterable[str]) -> Iterator[Piece]:
    """Lines between blank lines as paragraphs, cut where one grows past a section."""
    held: list[str] = []
    size = 0
    for line in lines:
        blank = not line.strip()
        if held and (blank or size + len(line) > SECTION_CHARACTERS):
            yield paragraph("".join(held))
            held, size = [], 0
        if not blank:
            held.append(line)
            size += len(line)
    if held:
        yield paragraph("".join(held))
