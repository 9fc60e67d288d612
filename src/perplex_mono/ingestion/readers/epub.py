"""EPUB books in spine order: the package's own table of contents names the chapters."""

import posixpath
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

from perplex_mono.errors import DocumentFailure
from perplex_mono.ingestion.readers.archive import Package, open_package
from perplex_mono.ingestion.readers.contract import Opened, ReaderItem, ReadRequest
from perplex_mono.ingestion.readers.damage import reported_as_corrupt
from perplex_mono.ingestion.readers.decoding import decode
from perplex_mono.ingestion.readers.html_pieces import html_pieces
from perplex_mono.ingestion.readers.page_builder import PageWriter, Piece, one_line
from perplex_mono.library.media_types import EPUB

_FONT_OBFUSCATION = ("http://www.idpf.org/2008/embedding", "http://ns.adobe.com/pdf/enc#RC")
_CHAPTER_TYPES = ("application/xhtml+xml", "text/html", "application/x-dtbook+xml", "text/x-oeb1-document")


def read(request: ReadRequest) -> Iterator[ReaderItem]:
    """Read a book: every spine item is one or more sections labelled with its title."""
    with open_package(request.path, request.limits, "EPUB book") as package:
        _refuse_protected(package)
        with reported_as_corrupt("an EPUB book"):
            chapters, titles = _contents(package)
        pages = PageWriter(request)
        yield Opened(EPUB, None)
        for chapter in chapters:
            pieces = html_pieces([decode(package.read(chapter))])
            first, label = _first_and_label(pieces, titles.get(chapter, ""))
            yield from pages.sections(_resumed(first, pieces), label=label)
        pages.finish()


def _first_and_label(pieces: Iterator[Piece], title: str) -> tuple[Piece | None, str]:
    """The first piece, and the chapter's name: the contents' title, else its first heading."""
    first = next(pieces, None)
    if not title and first is not None and first.kind == "heading":
        title = first.text
    return first, title


def _resumed(first: Piece | None, pieces: Iterator[Piece]) -> Iterator[Piece]:
    if first is not None:
        yield first
    yield from pieces


def _refuse_protected(package: Package) -> None:
    """Fonts may be obfuscated; a book whose text is enciphered cannot be read."""
    encryption = package.find_xml("META-INF/encryption.xml")
    if encryption is None:
        return
    methods = encryption.xpath("//*[local-name()='EncryptionMethod']/@Algorithm")
    if any(method not in _FONT_OBFUSCATION for method in methods):
        raise DocumentFailure("encrypted", "The EPUB book is encrypted (copy protection).")


def _contents(package: Package) -> tuple[list[str], dict[str, str]]:
    """Names of the members in reading order, and their titles where the book gives them."""
    container = package.xml("META-INF/container.xml")
    opf_name = str(container.xpath("string(//*[local-name()='rootfile'][1]/@full-path)"))
    opf = package.xml(opf_name)
    folder = posixpath.dirname(opf_name)
    items = {str(item.get("id")): item for item in opf.xpath("//*[local-name()='manifest']/*[local-name()='item']")}
    spine = [items.get(str(ref)) for ref in opf.xpath("//*[local-name()='spine']/*[local-name()='itemref']/@idref")]
    chapters = [
        name
        for item in spine
        if item is not None
        and item.get("media-type", _CHAPTER_TYPES[0]) in _CHAPTER_TYPES
        and (name := _member(folder, item.get("href", ""))) in package
    ]
    titles: dict[str, str] = {}
    for item in items.values():
        if item.get("media-type") == "application/x-dtbncx+xml" or "nav" in item.get("properties", "").split():
            name = _member(folder, item.get("href", ""))
            if name in package:
                titles = _titles(package.xml(name), posixpath.dirname(name)) | titles
    return chapters, titles


def _titles(contents: Any, folder: str) -> dict[str, str]:
    """Titles by member, from a navigation document (EPUB 3) or an NCX (EPUB 2); the first of a member wins."""
    titles: dict[str, str] = {}
    for link in contents.xpath("//*[local-name()='nav']//*[local-name()='a'][@href]"):
        titles.setdefault(_member(folder, link.get("href")), one_line("".join(link.itertext())))
    for point in contents.xpath("//*[local-name()='navPoint']"):
        source = str(point.xpath("string(*[local-name()='content']/@src)"))
        titles.setdefault(_member(folder, source), one_line(str(point.xpath("string(*[local-name()='navLabel'])"))))
    return titles


def _member(folder: str, href: str) -> str:
    """The member a link means; it is only looked up in the package, never on disk."""
    return posixpath.normpath(posixpath.join(folder, unquote(href.partition("#")[0])))
