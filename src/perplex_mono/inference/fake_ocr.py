"""An OCR engine without models, for tests of what is built on OCR."""

import asyncio
from dataclasses import replace

from perplex_mono.errors import Unavailable
from perplex_mono.inference.ocr import Box, OcrLine, OcrPage, OcrStatus, OcrWord, PageRaster


class FakeOcrEngine:
    """Gives each page the next of the prepared results, over and over, and remembers what it was asked to read."""

    name = "fake"
    version = "fake-1"

    def __init__(self, *pages: OcrPage, delay_seconds: float = 0.0) -> None:
        """Without `pages` every page is empty."""
        self._pages = pages or (OcrPage(lines=(), rotation=0, confidence=0.0),)
        self._delay_seconds = delay_seconds
        self._status = OcrStatus(self.name, "ready", None, 1, 0, 0, 1, 0, 0, 0, 0.0)
        self.seen: list[PageRaster] = []

    def fail(self, reason: str) -> None:
        """From now on be unavailable."""
        self._status = replace(self._status, state="failed", reason=reason)

    async def recognise(self, image: PageRaster, *, is_urgent: bool = False) -> OcrPage:
        """Give the next prepared result."""
        if self._status.state == "failed":
            raise Unavailable("ocr", self._status.reason or "")
        await asyncio.sleep(self._delay_seconds)
        self.seen.append(image)
        self._status = replace(self._status, requests=self._status.requests + 1)
        return self._pages[(len(self.seen) - 1) % len(self._pages)]

    def status(self) -> OcrStatus:
        """Tell the state and the number of pages read."""
        return self._status

    async def unload(self) -> None:
        """Hold nothing, free nothing."""

    async def close(self) -> None:
        """Refuse further pages."""
        self.fail("the engine is closed")


def page_of(*texts: str) -> OcrPage:
    """Give an upright page of evenly spaced lines, words as wide as their characters, confidence 0.9."""
    height = 1 / max(1, len(texts))
    lines = [_line(text, row * height, (row + 0.8) * height) for row, text in enumerate(texts)]
    return OcrPage(lines=tuple(lines), rotation=0, confidence=0.9 if lines else 0.0)


def _line(text: str, top: float, bottom: float) -> OcrLine:
    words: list[OcrWord] = []
    pitch = 0.8 / len(text)
    start = 0
    for part in text.split(" "):
        end = start + len(part)
        words.append(OcrWord(start, end, Box(0.1 + start * pitch, top, 0.1 + end * pitch, bottom), 0.9))
        start = end + 1
    return OcrLine(text=text, confidence=0.9, box=Box(0.1, top, 0.9, bottom), words=tuple(words))
