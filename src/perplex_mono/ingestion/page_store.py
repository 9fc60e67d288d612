"""Pages as they were read, kept as checkpoints: no page is read or recognised twice for the same bytes."""

import asyncio
import zlib
from collections.abc import AsyncIterator, Collection, Sequence

import msgspec
from sqlalchemy import delete, tuple_
from sqlalchemy.dialects.sqlite import insert
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from perplex_mono.errors import DataCorrupt, NotFound
from perplex_mono.ingestion.pages import Page
from perplex_mono.ingestion.readers.registry import READERS_VERSION
from perplex_mono.library.models import StoredPage
from perplex_mono.library.repository import DocumentRepository
from perplex_mono.storage.database import Database

READER_VERSION = str(READERS_VERSION)
COMPRESSION_LEVEL = 1
LOAD_PAGES = 16


class PageStore:
    """Stored pages by the hash of the file they come from."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def numbers(self, sha256: str) -> frozenset[int]:
        """The pages of these bytes that this version of the readers has stored."""
        query = select(StoredPage.number).where(
            StoredPage.sha256 == sha256, StoredPage.reader_version == READER_VERSION
        )
        async with self._database.read() as session:
            return frozenset((await session.exec(query)).all())

    async def get(self, sha256: str, number: int) -> Page:
        """One page. Raises `NotFound`."""
        async with self._database.read() as session:
            rows = await DocumentRepository(session).list_pages(sha256, first=number, limit=1)
        if not rows or rows[0].number != number:
            raise NotFound("page", str(number))
        return decode_page(rows[0].payload)

    async def payloads(self, keys: Collection[tuple[str, int]]) -> dict[tuple[str, int], bytes]:
        """Packed pages by hash and number, the same of several versions as `get` gives; `decode_page` unpacks them."""
        query = (
            select(StoredPage.sha256, StoredPage.number, StoredPage.payload)
            .where(tuple_(col(StoredPage.sha256), col(StoredPage.number)).in_(keys))
            .order_by(col(StoredPage.reader_version).desc())
        )
        async with self._database.read() as session:
            return {(sha256, number): payload for sha256, number, payload in (await session.exec(query)).all()}

    async def load(self, sha256: str, *, first: int = 1, limit: int | None = None) -> AsyncIterator[Page]:
        """Stored pages from `first` on, in order, a few in memory at a time."""
        left = limit
        while left is None or left > 0:
            count = LOAD_PAGES if left is None else min(left, LOAD_PAGES)
            async with self._database.read() as session:
                rows = await DocumentRepository(session).list_pages(sha256, first=first, limit=count)
            for row in rows:
                yield decode_page(row.payload)
            if len(rows) < count:
                return
            first = rows[-1].number + 1
            left = None if left is None else left - count

    async def find_recognised(self, content_hash: str) -> Page | None:
        """What OCR read on a page that shows exactly the same, in any document."""
        query = (
            select(StoredPage.payload)
            .where(col(StoredPage.content_hash) == content_hash, StoredPage.source == "ocr")
            .limit(1)
        )
        async with self._database.read() as session:
            payload = (await session.exec(query)).first()
        return None if payload is None else decode_page(payload)

    async def find_broken(self, sha256: str) -> list[int]:
        """Numbers of the stored pages of these bytes that cannot be decoded."""
        broken: list[int] = []
        first = 1
        while True:
            async with self._database.read() as session:
                rows = await DocumentRepository(session).list_pages(sha256, first=first, limit=LOAD_PAGES)
            broken += [page.number for page in await asyncio.to_thread(undecodable, rows)]
            if len(rows) < LOAD_PAGES:
                return broken
            first = rows[-1].number + 1

    @staticmethod
    async def drop(session: AsyncSession, sha256: str, numbers: Sequence[int]) -> None:
        """Remove stored pages in the caller's transaction; they are read again when somebody wants them."""
        gone = (col(StoredPage.sha256) == sha256) & col(StoredPage.number).in_(numbers)
        await session.exec(delete(StoredPage).where(gone))

    @staticmethod
    async def add(session: AsyncSession, sha256: str, pages: Sequence[Page]) -> None:
        """Store pages in the caller's transaction; pages already stored stay as they are."""
        rows = [
            {
                "sha256": sha256,
                "reader_version": READER_VERSION,
                "number": page.number,
                "content_hash": page.content_hash,
                "source": page.source,
                "confidence": page.confidence,
                "payload": encode_page(page),
            }
            for page in pages
        ]
        await session.exec(insert(StoredPage).values(rows).on_conflict_do_nothing())


def encode_page(page: Page) -> bytes:
    """The page, packed and compressed."""
    return zlib.compress(msgspec.msgpack.encode(page), COMPRESSION_LEVEL)


def decode_page(payload: bytes) -> Page:
    """The page that `encode_page` packed. Raises `DataCorrupt`."""
    try:
        return msgspec.msgpack.decode(zlib.decompress(payload), type=Page)
    except (zlib.error, msgspec.DecodeError) as error:
        raise DataCorrupt(f"A stored page cannot be decoded: {error}") from error


def undecodable(pages: Sequence[StoredPage]) -> list[StoredPage]:
    """Those that `decode_page` refuses. Takes its time: call it on a thread."""
    broken = []
    for page in pages:
        try:
            decode_page(page.payload)
        except DataCorrupt:
            broken.append(page)
    return broken
