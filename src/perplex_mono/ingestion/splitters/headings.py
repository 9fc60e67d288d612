"""The headings that text stands under: named by its chunk, and read by the model with it."""

from bisect import bisect_right
from operator import attrgetter
from typing import NamedTuple

from perplex_mono.ingestion.chunks import Heading, Outline
from perplex_mono.ingestion.pages import Page
from perplex_mono.ingestion.units import TokenCounter, complete_blocks

_SEPARATOR = " > "


class _Section(NamedTuple):
    """What stands under one outline: its heading `[start, text_start)`, then text up to the next section."""

    start: int
    text_start: int
    outline: Outline


class PageHeadings:
    """The headings of one page that begins under `outline`."""

    def __init__(self, page: Page, outline: Outline) -> None:
        self._text = page.text
        self._sections = [_Section(0, 0, outline)]
        for block in complete_blocks(page):
            name = " ".join(page.text[block.start : block.end].lstrip("# ").split())
            if block.kind == "heading" and page.text[block.start : block.end].strip():
                level = max(block.level, 1)
                outline = (*(heading for heading in outline if heading.level < level), Heading(level, name))
                self._sections.append(_Section(block.start, block.end, outline))

    @property
    def last(self) -> Outline:
        """The outline at the end of the page."""
        return self._sections[-1].outline

    def context(self, start: int, tokens: TokenCounter, max_tokens: int) -> str:
        """The headings over the text at `start`, without one that the text is itself part of, on one line.

        The innermost are kept where not all fit; the end of the innermost is cut off if even it does not.
        """
        section = self._sections[self._index(start)]
        return _join(section.outline[:-1] if start < section.text_start else section.outline, tokens, max_tokens)

    def path(self, start: int, end: int) -> tuple[str, ...]:
        """The headings that all text of `[start, end)` stands under; those of its last one if it holds nothing else."""
        first, last = self._index(start), self._index(end - 1)
        under_text = {self._sections[at].outline for at in range(first, last + 1) if self._has_text(at, start, end)}
        paths = list(under_text or {self._sections[last].outline})
        common = 0
        while all(len(path) > common and path[common] == paths[0][common] for path in paths):
            common += 1
        return tuple(heading.text for heading in paths[0][:common])

    def _index(self, at: int) -> int:
        return bisect_right(self._sections, at, key=attrgetter("start")) - 1

    def _has_text(self, at: int, start: int, end: int) -> bool:
        """Whether any of `[start, end)` is text of that section and not its heading."""
        section_end = self._sections[at + 1].start if at + 1 < len(self._sections) else len(self._text)
        inside = slice(max(start, self._sections[at].text_start), min(end, section_end))
        return bool(self._text[inside].strip())


def _join(outline: Outline, tokens: TokenCounter, max_tokens: int) -> str:
    kept: list[str] = []
    for heading in reversed(outline):
        longer = _SEPARATOR.join([heading.text, *kept])
        if len(tokens.offsets(longer)) > max_tokens:
            break
        kept.insert(0, heading.text)
    if outline and not kept and max_tokens:
        offsets = tokens.offsets(outline[-1].text)
        kept = [outline[-1].text[: offsets[max_tokens - 1][1]]]
    return _SEPARATOR.join(kept)
