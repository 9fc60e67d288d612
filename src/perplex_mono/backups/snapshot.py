"""One moment of the library: a copy of the database with what must not leave taken out, and what belongs to it."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sqlalchemy import delete, text
from sqlmodel import col, func, select
from sqlmodel.ext.asyncio.session import AsyncSession

from perplex_mono.backups.manifest import BLOBS, DATABASE, Counts, IndexModel, Member
from perplex_mono.backups.secrets import remove_secrets
from perplex_mono.errors import DataCorrupt
from perplex_mono.library.models import Collection, Document, SearchIndex
from perplex_mono.operations.models import FINAL_STATES, Event, Operation, OperationKind
from perplex_mono.storage.blobs import BlobStore
from perplex_mono.storage.database import Database

KIND: Final[OperationKind] = "backup"


@dataclass(frozen=True)
class Snapshot:
    """What a copy of the database says: its revision, what is in it, and the originals that belong to it."""

    database: Member
    originals: Sequence[Member]
    counts: Counts
    index_models: list[IndexModel]
    schema_revision: str


@asynccontextmanager
async def held_originals(database: Database, blobs: BlobStore) -> AsyncIterator[None]:
    """While the block runs, no original that the database refers to at its beginning is lost to a deletion."""
    is_held = False
    try:
        async with database.write() as session:
            await session.connection()  # begins the transaction: whoever deletes has finished, or waits
            blobs.hold()
            is_held = True
        yield
    finally:
        if is_held:
            await asyncio.to_thread(blobs.release)


async def seal_copy(path: Path, *, keeps_secrets: bool) -> Snapshot:
    """Take out of a fresh copy what must not be in a backup, prove that it is sound, and read what belongs to it.

    Raises `DataCorrupt`, in SQLite's words, for a database that is not sound.
    """
    copy = Database(path)
    try:
        async with copy.write() as session:
            await _remove_unfinished_backups(session)
            await remove_secrets(session, keeps_secrets=keeps_secrets)
        damage = await copy.damage()
        if damage:
            raise DataCorrupt(f"The database is damaged, so no backup of it can be good: {'; '.join(damage[:5])}")
        async with copy.read() as session:
            originals = await _originals(session)
            counts = await _counts(session, len(originals))
            index_models = await _index_models(session)
            revision = await schema_revision(session)
    finally:
        await copy.close()
    size_bytes, sha256 = await asyncio.to_thread(measure, path)
    return Snapshot(Member(DATABASE, size_bytes, sha256), originals, counts, index_models, revision)


async def schema_revision(session: AsyncSession) -> str:
    """The newest migration that the database has had."""
    connection = await session.connection()
    return str((await connection.execute(text("SELECT version_num FROM alembic_version"))).scalar_one())


def measure(path: Path) -> tuple[int, str]:
    """Size and hash of a file."""
    with path.open("rb") as file:
        return path.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest()


async def _remove_unfinished_backups(session: AsyncSession) -> None:
    """The restored library must not go on with the backup it came from."""
    unfinished = (col(Operation.kind) == KIND) & col(Operation.state).not_in(FINAL_STATES)
    ids = select(Operation.id).where(unfinished)
    await session.exec(delete(Event).where(col(Event.operation_id).in_(ids)))
    await session.exec(delete(Operation).where(unfinished))


async def _originals(session: AsyncSession) -> list[Member]:
    """Those of every document that is not deleted."""
    query = (
        select(Document.sha256, func.max(Document.size_bytes))
        .where(Document.status != "deleting")
        .group_by(Document.sha256)
        .order_by(Document.sha256)
    )
    rows = (await session.exec(query)).all()
    return [Member(f"{BLOBS}/{sha256}", size_bytes, sha256) for sha256, size_bytes in rows]


async def _counts(session: AsyncSession, files: int) -> Counts:
    documents = select(func.count()).select_from(Document).where(Document.status != "deleting")
    collections = select(func.count()).select_from(Collection).where(col(Collection.deleted_at).is_(None))
    return Counts((await session.exec(collections)).one(), (await session.exec(documents)).one(), files)


async def _index_models(session: AsyncSession) -> list[IndexModel]:
    query = select(SearchIndex.model, SearchIndex.model_key).where(SearchIndex.state != "deleting").distinct()
    return [IndexModel(name, key) for name, key in sorted((await session.exec(query)).all())]
