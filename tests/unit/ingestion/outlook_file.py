"""Outlook messages made by code: a compound file (MS-CFB) holding message properties (MS-OXMSG)."""

import struct
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

SECTOR = 512
MINI_SECTOR = 64
END = 0xFFFFFFFE
FREE = 0xFFFFFFFF
STRING, BINARY, INTEGER = 0x001F, 0x0102, 0x0003
SUBJECT, BODY, HTML, SENDER, DISPLAY_TO = 0x0037, 0x1000, 0x1013, 0x0C1F, 0x0E04
ATTACH_DATA, ATTACH_NAME, ATTACH_METHOD = 0x3701, 0x3707, 0x3705

Tree = Mapping[str, "bytes | Tree"]


def outlook_file(
    path: Path, properties: Mapping[int, str | bytes], attachments: Sequence[tuple[str, bytes]] = ()
) -> Path:
    """A message with string and binary properties by number, and attached files."""
    tree: dict[str, bytes | Tree] = dict(_storage(properties, header_bytes=32))
    for number, (name, data) in enumerate(attachments):
        attached: dict[int, str | bytes | int] = {ATTACH_NAME: name, ATTACH_DATA: data, ATTACH_METHOD: 1}
        tree[f"__attach_version1.0_#{number:08X}"] = _storage(attached, header_bytes=8)
    path.write_bytes(_compound(tree))
    return path


def _storage(properties: Mapping[int, str | bytes] | Mapping[int, str | bytes | int], header_bytes: int) -> Tree:
    streams: dict[str, bytes | Tree] = {}
    entries = b""
    for number, value in properties.items():
        if isinstance(value, int):
            entries += struct.pack("<HHIII", INTEGER, number, 6, value, 0)
            continue
        kind = STRING if isinstance(value, str) else BINARY
        data = value.encode("utf-16-le") if isinstance(value, str) else value
        entries += struct.pack("<HHIII", kind, number, 6, len(data), 0)
        streams[f"__substg1.0_{number:04X}{kind:04X}"] = data
    streams["__properties_version1.0"] = b"\0" * header_bytes + entries
    return streams


def _compound(tree: Tree) -> bytes:
    """Small streams go to the mini stream; siblings hang on one another to the right, which readers accept."""
    entries: list[tuple[str, int, bytes]] = []
    links: list[list[int]] = []

    def add(name: str, content: "bytes | Tree", kind: int) -> int:
        index = len(entries)
        entries.append((name, kind, content if isinstance(content, bytes) else b""))
        links.append([FREE, FREE])
        children = [] if isinstance(content, bytes) else list(content.items())
        indexes = [add(child, inner, 2 if isinstance(inner, bytes) else 1) for child, inner in children]
        for left, right in pairwise(indexes):
            links[left][0] = right
        if indexes:
            links[index][1] = indexes[0]
        return index

    add("Root Entry", tree, 5)
    mini, mini_fat = b"", list[int]()
    places = []
    for _, kind, data in entries:
        assert len(data) < 4096, "only small streams are needed here"
        start = len(mini) // MINI_SECTOR if kind == 2 and data else END
        count = -(-len(data) // MINI_SECTOR)
        mini_fat.extend([start + step + 1 for step in range(count - 1)] + [END] * bool(count))
        mini += data.ljust(count * MINI_SECTOR, b"\0")
        places.append((start, len(data)))
    places[0] = (0, len(mini))  # the mini stream is the content of the root
    directory = b"".join(
        _entry(name, kind, link, place) for (name, kind, _), link, place in zip(entries, links, places, strict=True)
    )
    parts = [_padded(mini), _padded(struct.pack(f"<{len(mini_fat)}I", *mini_fat), b"\xff"), _padded(directory)]
    return _sectors(parts, len(mini_fat))


def _entry(name: str, kind: int, link: Sequence[int], place: tuple[int, int]) -> bytes:
    raw = name.encode("utf-16-le") + b"\0\0"
    right, child = link
    start, size = place
    return (
        raw.ljust(64, b"\0")
        + struct.pack("<HBBIII", len(raw), kind, 1, FREE, right, child)
        + b"\0" * 36
        + struct.pack("<IQ", start, size)
    )


def _padded(data: bytes, filler: bytes = b"\0") -> bytes:
    return data + filler * (-len(data) % SECTOR)


def _sectors(parts: Sequence[bytes], mini_fat_entries: int) -> bytes:
    """Header, the parts one after another, then the sector chains (the FAT) in sectors of their own."""
    starts, fat = [], list[int]()
    for part in parts:
        starts.append(len(fat))
        count = len(part) // SECTOR
        fat.extend([len(fat) + step + 1 for step in range(count - 1)] + [END])
    fat_sector = len(fat)
    fat.append(0xFFFFFFFD)
    assert len(fat) <= SECTOR // 4, "one sector of chains is enough here"
    header = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 16 + struct.pack("<HHHHH6x", 0x3E, 3, 0xFFFE, 9, 6)
    mini_fat_sectors = len(parts[1]) // SECTOR
    header += struct.pack("<IIIIIIIIII", 0, 1, starts[2], 0, 4096, starts[1], mini_fat_sectors, END, 0, fat_sector)
    header += b"\xff" * (SECTOR - len(header))
    chains = struct.pack(f"<{len(fat)}I", *fat).ljust(SECTOR, b"\xff")
    return header + b"".join(parts) + chains
