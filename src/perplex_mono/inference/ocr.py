"""What the product asks of optical character recognition: one interface, whichever engine answers it.

Light on purpose (no model runtime is imported here), so that the layers above can name these types.
"""

from dataclasses import dataclass
from typing import Literal, Protocol

Rotation = Literal[0, 90, 180, 270]
EngineState = Literal["idle", "loading", "ready", "failed", "disabled", "closed"]


@dataclass(frozen=True, slots=True)
class PageRaster:
    """An image to read: `height x width x 3` RGB bytes, row by row."""

    width: int
    height: int
    pixels: bytes


@dataclass(frozen=True, slots=True)
class Box:
    """An upright rectangle in fractions of the upright page, origin top left."""

    x0: float
    y0: float
    x1: float
    y1: float


@dataclass(frozen=True, slots=True)
class OcrWord:
    """A word of a line: `start`/`end` are character offsets into the line's text."""

    start: int
    end: int
    box: Box
    confidence: float


@dataclass(frozen=True, slots=True)
class OcrLine:
    """A run of text on one line, as detected; neighbouring columns are separate lines."""

    text: str
    confidence: float
    box: Box
    words: tuple[OcrWord, ...]


@dataclass(frozen=True, slots=True)
class OcrPage:
    """What was read. Lines come in the order of detection (roughly top to bottom), not in reading order.

    `rotation` is the clockwise turn in degrees that makes the given image upright; at 90 and 270 the upright page is
    `height` wide and `width` high. `confidence` is the mean over all characters, 0 for an empty page.
    """

    lines: tuple[OcrLine, ...]
    rotation: Rotation
    confidence: float


@dataclass(frozen=True, slots=True)
class OcrStatus:
    """How the engine is doing, for readiness and metrics. Counters start at zero with the process."""

    engine: str
    state: EngineState
    reason: str | None
    threads: int
    queued: int
    running: int
    init_total: int
    init_errors: int
    requests: int
    errors: int
    seconds: float


class OcrEngine(Protocol):
    """Reads pages. Loads itself at the first page; a failure to load is retried later and never raised elsewhere."""

    @property
    def name(self) -> str:
        """The engine that answers, e.g. `rapidocr`."""
        ...

    @property
    def version(self) -> str:
        """Changes whenever the same image could give another text: the key under which results may be kept."""
        ...

    async def recognise(self, image: PageRaster, *, is_urgent: bool = False) -> OcrPage:
        """Read one page; an urgent one before all that wait and are not.

        Waits for a place in the queue; a cancelled wait leaves it, a cancelled run is thrown away.
        Raises `Unavailable("ocr", reason)` while the engine cannot start, `InvalidInput` for bytes of the wrong size.
        """
        ...

    def status(self) -> OcrStatus:
        """Tell the state and the counters without waiting for anything."""
        ...

    async def unload(self) -> None:
        """Give the models' memory back when no page is being read; the next page loads them again."""
        ...

    async def close(self) -> None:
        """Refuse new pages, fail the waiting ones, wait for the running ones and free everything."""
        ...
