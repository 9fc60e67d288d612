"""What Word's style and numbering parts say about a paragraph: heading level, list depth, bullet or number."""

from collections import defaultdict
from typing import Any

import msgspec

W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_MAX_STYLE_CHAIN = 20


class ListPlace(msgspec.Struct, frozen=True):
    """Where a paragraph stands in a list: its numbering instance and its depth from 0."""

    numbering: str
    depth: int


class _Style(msgspec.Struct, frozen=True):
    name: str
    based_on: str
    outline: int | None
    numbering: str | None
    depth: int | None


class Styles:
    """The paragraph styles of a document, each knowing what it inherits."""

    def __init__(self, root: Any | None) -> None:
        self._styles: dict[str, _Style] = {}
        for element in root.iterchildren(f"{W}style") if root is not None else ():
            properties = element.find(f"{W}pPr")
            self._styles[element.get(f"{W}styleId", "")] = _Style(
                name=(value(element, "name") or "").lower(),
                based_on=value(element, "basedOn") or "",
                outline=integer(value(properties, "outlineLvl")),
                numbering=value(properties, "numPr/numId"),
                depth=integer(value(properties, "numPr/ilvl")),
            )

    def heading_level(self, style_id: str, properties: Any | None) -> int:
        """1 to 6 for headings and titles, else 0; the paragraph's own outline level goes before its style's."""
        own = integer(value(properties, "outlineLvl"))
        if own is not None:
            return min(own + 1, 6) if own < 9 else 0
        for style in self._chain(style_id):
            if style.name.startswith("heading ") and style.name[8:].strip().isdigit():
                return min(int(style.name[8:]), 6)
            if style.name == "title":
                return 1
            if style.outline is not None:
                return min(style.outline + 1, 6) if style.outline < 9 else 0
        return 0

    def list_place(self, style_id: str, properties: Any | None) -> ListPlace | None:
        """The list a paragraph belongs to, by itself or by its style; numbering "0" takes it out of any."""
        numbering = value(properties, "numPr/numId")
        depth = integer(value(properties, "numPr/ilvl"))
        for style in self._chain(style_id):
            numbering = numbering if numbering is not None else style.numbering
            depth = depth if depth is not None else style.depth
        if numbering is None or numbering == "0":
            return None
        return ListPlace(numbering, min(max(depth or 0, 0), 8))

    def _chain(self, style_id: str) -> list[_Style]:
        chain: list[_Style] = []
        style = self._styles.get(style_id)
        while style is not None and len(chain) < _MAX_STYLE_CHAIN:
            chain.append(style)
            style = self._styles.get(style.based_on)
        return chain


class Numbering:
    """Counts list items as Word does: one counter per list and depth, deeper ones start again."""

    def __init__(self, root: Any | None) -> None:
        self._formats: dict[tuple[str, int], tuple[str, int]] = {}
        self._abstract: dict[str, str] = {}
        self._counters: defaultdict[str, dict[int, int]] = defaultdict(dict)
        if root is None:
            return
        for abstract in root.iterchildren(f"{W}abstractNum"):
            for level in abstract.iterchildren(f"{W}lvl"):
                key = (abstract.get(f"{W}abstractNumId", ""), integer(level.get(f"{W}ilvl")) or 0)
                start = integer(value(level, "start"))
                self._formats[key] = (value(level, "numFmt") or "decimal", 1 if start is None else start)
        for number in root.iterchildren(f"{W}num"):
            self._abstract[number.get(f"{W}numId", "")] = value(number, "abstractNumId") or ""

    def next_number(self, place: ListPlace) -> int | None:
        """The item's number, or None for a bullet."""
        kind, start = self._formats.get((self._abstract.get(place.numbering, ""), place.depth), ("bullet", 1))
        counters = self._counters[place.numbering]
        for deeper in [depth for depth in counters if depth > place.depth]:
            del counters[deeper]
        if kind in ("bullet", "none"):
            return None
        counters[place.depth] = counters.get(place.depth, start - 1) + 1
        return counters[place.depth]


def value(element: Any | None, path: str) -> str | None:
    """The w:val of a descendant named by a path without prefixes."""
    if element is None:
        return None
    found = element.find("/".join(f"{W}{step}" for step in path.split("/")))
    return None if found is None else found.get(f"{W}val")


def integer(text: str | None) -> int | None:
    """A small whole number, or None for anything else."""
    return int(text) if text is not None and text.isascii() and text.isdigit() and len(text) < 7 else None
