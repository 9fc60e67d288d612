"""Zip packages (OOXML, OpenDocument, EPUB) opened under limits, and their XML parsed without entities or network."""

import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any, Literal

from lxml import etree

from perplex_mono.errors import DocumentFailure
from perplex_mono.ingestion.readers.contract import ReaderLimits
from perplex_mono.ingestion.readers.damage import reported_as_corrupt

MAX_ENTRIES = 10_000
"""Members of a package; a deck of 1,000 slides with notes and pictures has about 5,000."""

MAX_RATIO = 100
"""Unpacked over packed size from which a package counts as a bomb, when it also is larger than `RATIO_FREE_BYTES`."""

RATIO_FREE_BYTES = 32 * 1024 * 1024
MAX_PART_BYTES = 64 * 1024 * 1024
"""Largest XML part that is parsed as a whole; larger ones are streamed or refused."""

_PROLOG_BYTES = 64 * 1024
_ROOT_TAG_BYTES = 2_000
_STRICT_NAMESPACE = b'="HTTP://PURL.OCLC.ORG/OOXML/'
_ZIP_ERRORS = (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, NotImplementedError, KeyError)
_XML_ERRORS = (etree.LxmlError, *_ZIP_ERRORS)

Step = tuple[Literal["open", "leaf", "close"], Any]


class Package:
    """A zip container whose promised sizes were checked before anything was unpacked.

    `zipfile` never gives more of a member than its directory promises and checks the CRC at its end, so the
    promised sizes bound what is really unpacked. Nothing is ever written to disk.
    """

    def __init__(self, archive: zipfile.ZipFile, format_name: str) -> None:
        self._archive = archive
        self._format_name = format_name
        self.names = frozenset(archive.namelist())

    def __contains__(self, name: str) -> bool:
        return name in self.names

    def open(self, name: str) -> IO[bytes]:
        """A member as a stream; a missing one means the package is corrupt."""
        with reported_as_corrupt(self._format_name, _ZIP_ERRORS):
            return self._archive.open(name)

    def read(self, name: str) -> bytes:
        """A member as bytes, at most `MAX_PART_BYTES`."""
        with reported_as_corrupt(self._format_name, _ZIP_ERRORS), self._archive.open(name) as member:
            data = member.read(MAX_PART_BYTES + 1)
        if len(data) > MAX_PART_BYTES:
            raise DocumentFailure("too_large", f"The part '{name}' of the {self._format_name} is too large.")
        return data

    def xml(self, name: str) -> Any:
        """The root element of a member of at most `MAX_PART_BYTES`."""
        data = self.read(name)
        with reported_as_corrupt(self._format_name, _XML_ERRORS):
            return parse_xml(data)

    def find_xml(self, name: str) -> Any | None:
        """Like `xml`, but None when the package has no such member."""
        return self.xml(name) if name in self.names else None

    def steps(self, name: str, containers: frozenset[str]) -> Iterator[Step]:
        """Walk a large XML member in bounded memory.

        An element whose tag is in `containers`, and whose ancestors all are, is announced as ("open", element)
        with its attributes only and as ("close", element); any other element below them comes whole as ("leaf",
        element) and is dropped before the next one.
        """
        with reported_as_corrupt(self._format_name, _XML_ERRORS), self._archive.open(name) as member:
            yield from _walk(member, containers)

    def check_parts(self) -> None:
        """Fail when any XML part declares a document type (office files never do, entity bombs must), or is in the
        "strict" dialect of Office, whose other namespaces the readers do not know."""
        for name in self._archive.namelist():
            if name.endswith((".xml", ".rels", ".vml")):
                with reported_as_corrupt(self._format_name, _ZIP_ERRORS), self._archive.open(name) as member:
                    prolog = member.read(_PROLOG_BYTES).replace(b"\0", b"").upper()
                if b"<!DOCTYPE" in prolog or b"<!ENTITY" in prolog:
                    raise DocumentFailure("corrupt", f"The {self._format_name} is corrupt: '{name}' declares entities.")
                if _STRICT_NAMESPACE in prolog[:_ROOT_TAG_BYTES]:
                    raise DocumentFailure(
                        "unsupported", f"The {self._format_name} is Strict Open XML. Save it in the ordinary format."
                    )


@contextmanager
def open_package(path: str, limits: ReaderLimits, format_name: str) -> Iterator[Package]:
    """Open a zip container; raises `corrupt`, `encrypted` or `too_large` before unpacking anything."""
    with reported_as_corrupt(format_name, _ZIP_ERRORS):
        archive = zipfile.ZipFile(path)
    with archive:
        _check_promises(archive, limits, format_name)
        yield Package(archive, format_name)


def parse_xml(data: bytes) -> Any:
    """Parse bytes with entities unresolved, no network, no external document type."""
    return etree.fromstring(data, etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False))


def _check_promises(archive: zipfile.ZipFile, limits: ReaderLimits, format_name: str) -> None:
    entries = archive.infolist()
    expanded = sum(entry.file_size for entry in entries)
    packed = max(1, sum(entry.compress_size for entry in entries))
    if any(entry.flag_bits & 0x1 for entry in entries):
        raise DocumentFailure("encrypted", f"The {format_name} is encrypted; save it without a password.")
    if len(entries) > MAX_ENTRIES:
        raise DocumentFailure("too_large", f"The {format_name} has more than {MAX_ENTRIES} parts.")
    if expanded > limits.max_expanded_bytes:
        raise DocumentFailure("too_large", f"The {format_name} unpacks to more than {limits.max_expanded_bytes} bytes.")
    if expanded > RATIO_FREE_BYTES and expanded > MAX_RATIO * packed:
        raise DocumentFailure("too_large", f"The {format_name} unpacks to more than {MAX_RATIO} times its size.")


def _walk(member: IO[bytes], containers: frozenset[str]) -> Iterator[Step]:
    inside_leaf = 0
    events = etree.iterparse(
        member,
        events=("start", "end"),
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        huge_tree=True,
        remove_comments=True,
        remove_pis=True,
    )
    for event, element in events:
        if event == "start":
            if inside_leaf or element.tag not in containers:
                inside_leaf += 1
            else:
                yield "open", element
        elif inside_leaf:
            inside_leaf -= 1
            if not inside_leaf:
                yield "leaf", element
                _drop(element)
        else:
            yield "close", element
            _drop(element)


def _drop(element: Any) -> None:
    """Empty the element and unlink its earlier siblings; the parser still holds the element itself."""
    element.clear()
    parent = element.getparent()
    if parent is not None:
        while element.getprevious() is not None:
            del parent[0]
