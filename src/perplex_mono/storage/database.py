"""SQLite holds the truth: one connection writes and checkpoints, a few read, and work is told only after its commit.

SQLite before 3.51.3 can corrupt its write-ahead log when two connections write or checkpoint at once, so the writer
is a pool of one and readers are `query_only`. Every write begins IMMEDIATE: an upgraded read would fail when busy.
"""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, event, text
from sqlalchemy.engine.interfaces import DBAPIConnection, ExceptionContext
from sqlalchemy.exc import DatabaseError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry
from sqlmodel.ext.asyncio.session import AsyncSession

import perplex_mono
from perplex_mono.errors import ConfigurationError, StorageFull
from perplex_mono.storage.disk_full import MESSAGE, is_disk_full
from perplex_mono.storage.metrics import DatabaseMetrics
from perplex_mono.storage.sqlite_driver import OneTripConnection, connect

READER_CONNECTIONS = 4
BUSY_TIMEOUT_MS = 10_000
FOLD_TIMEOUT_MS = 50
POOL_TIMEOUT_SECONDS = 30.0
_PRAGMAS = (
    "PRAGMA journal_mode=WAL",
    "PRAGMA synchronous=FULL",
    "PRAGMA foreign_keys=ON",
    "PRAGMA secure_delete=ON",  # what is deleted is overwritten; some builds of SQLite leave it in free pages
    f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}",
    "PRAGMA temp_store=MEMORY",
    "PRAGMA cache_size=-16000",
)
AFTER_COMMIT = "after_commit"


class Database:
    """The process's only way to SQLite."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._writer = _engine(path, read_only=False)
        self._readers = _engine(path, read_only=True)
        self.changes = 0
        """Grows with every commit of content: what a search found at one value still holds while it stays the same."""

    def measure_with(self, metrics: DatabaseMetrics) -> None:
        """Count every statement from now on, and tell the size of the file."""
        metrics.watch(self._writer.sync_engine)
        metrics.watch(self._readers.sync_engine)
        metrics.watch_size(self._path)

    @property
    def path(self) -> Path:
        """The database file."""
        return self._path

    async def migrate(self) -> None:
        """Bring the schema to this version's; a database from a newer version is refused."""
        async with self._writer.connect() as connection:
            await connection.run_sync(_upgrade)
            await connection.commit()

    @asynccontextmanager
    async def write(self, *, is_content: bool = True) -> AsyncIterator[AsyncSession]:
        """A write transaction: committed when the block ends, rolled back when it raises.

        One that is not `is_content` changes nothing that a search could show to anybody.

        Functions given to `after_commit` run once the commit is durable; a failed transaction drops them. The commit
        itself is shielded: a cancelled caller never leaves it half told.
        """
        async with AsyncSession(self._writer, expire_on_commit=False) as session:
            yield session
            commit = asyncio.ensure_future(self._commit_and_tell(session, is_content=is_content))
            try:
                await asyncio.shield(commit)
            except asyncio.CancelledError:
                await commit
                raise

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncSession]:
        """Reads; each statement sees the newest commit. No transaction is held, so no reader can make the log grow."""
        async with AsyncSession(self._readers, expire_on_commit=False) as session:
            yield session

    async def check(self) -> None:
        """Prove that the database can be read and written; raises what the driver raises."""
        async with self.read() as session:
            await session.exec(text("SELECT 1"))  # type: ignore[call-overload]  # sqlmodel types exec() for its own select
        async with self.write(is_content=False) as session:
            await session.exec(text("UPDATE heartbeat SET beat = beat + 1"))  # type: ignore[call-overload]  # same

    async def damage(self) -> list[str]:
        """What is wrong with the file, in SQLite's words: unreadable pages, broken indexes, rows that refer to none."""
        try:
            async with self.read() as session:
                connection = await session.connection()
                integrity = (await connection.execute(text("PRAGMA integrity_check"))).scalars().all()
                foreign = (await connection.execute(text("PRAGMA foreign_key_check"))).all()
        except DatabaseError as error:
            return [str(error.orig)]
        broken = [problem for problem in integrity if problem != "ok"]
        return broken + [f"a row of {row[0]} refers to a row of {row[2]} that does not exist" for row in foreign]

    async def programs(self) -> list[str]:
        """Names of the triggers and views in the file: the product has none, and they would run by themselves."""
        async with self.read() as session:
            connection = await session.connection()
            query = text("SELECT name FROM sqlite_master WHERE type IN ('trigger', 'view')")
            return list((await connection.execute(query)).scalars())

    async def give_back(self, max_pages: int) -> bool:
        """Cut up to so many free pages off the file, as one short write; whether there are more to cut off.

        The file itself shrinks with the next `fold_log`.
        """
        return await self._on_writer(partial(_give_back, max_pages=max_pages))

    async def fold_log(self) -> bool:
        """Bring all of the log into the file and empty it, old versions of rows too; False if a reader prevents it."""
        return await self._on_writer(_fold_log)

    async def _on_writer(self, work: Callable[[sqlite3.Connection], bool]) -> bool:
        """Do what is no transaction of SQLAlchemy's; writers wait meanwhile."""
        async with self._writer.connect() as connection:
            pooled = await connection.get_raw_connection()
            driver: OneTripConnection = pooled.driver_connection  # type: ignore[assignment]  # ours, see `_engine`
            return await driver.run(work)

    async def _commit_and_tell(self, session: AsyncSession, *, is_content: bool) -> None:
        await session.commit()
        self.changes += is_content
        for tell in session.info.pop(AFTER_COMMIT, []):
            tell()

    async def close(self) -> None:
        """Close every connection; SQLite folds the log into the file as the last one goes."""
        await self._readers.dispose()
        await self._writer.dispose()


def after_commit(session: AsyncSession, tell: Callable[[], None]) -> None:
    """Run `tell` once the session's transaction is durable, and never if it is not."""
    session.info.setdefault(AFTER_COMMIT, []).append(tell)


def _engine(path: Path, *, read_only: bool) -> AsyncEngine:
    options: dict[str, Any] = {"pool_size": 1}
    if read_only:
        # Each step of a driver costs a change of threads: readers go without BEGIN and ROLLBACK.
        options = {
            "pool_size": READER_CONNECTIONS,
            "isolation_level": "AUTOCOMMIT",
            "skip_autocommit_rollback": True,
        }
    engine = create_async_engine(
        f"sqlite+aiosqlite:///{path}",
        async_creator=partial(connect, path),
        max_overflow=0,
        hide_parameters=True,  # errors are logged, and what people stored is not for logs
        pool_timeout=POOL_TIMEOUT_SECONDS,
        **options,
    )

    def on_connect(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
        connection.isolation_level = None
        cursor = connection.cursor()
        if not read_only:
            cursor.execute("PRAGMA page_count")
            if cursor.fetchone() == (0,):  # only before the first page, which the next pragma writes
                cursor.execute("PRAGMA auto_vacuum=INCREMENTAL")
        for pragma in _PRAGMAS:
            cursor.execute(pragma)
        if read_only:
            cursor.execute("PRAGMA query_only=ON")
        cursor.close()

    def on_invalidate(connection: DBAPIConnection, _: ConnectionPoolEntry, __: BaseException | None) -> None:
        # A cancelled statement is still open, and SQLite keeps a connection with an open statement alive after close,
        # its transaction and write lock included. The roll-back is queued before the close, whatever happens to us.
        connection.rollback()

    def on_begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    def on_error(context: ExceptionContext) -> StorageFull | None:
        return StorageFull(MESSAGE) if is_disk_full(context.original_exception) else None

    event.listen(engine.sync_engine, "handle_error", on_error, retval=True)
    event.listen(engine.sync_engine, "connect", on_connect)
    event.listen(engine.sync_engine, "invalidate", on_invalidate)
    if not read_only:
        event.listen(engine.sync_engine, "begin", on_begin)
    return engine


def _give_back(connection: sqlite3.Connection, max_pages: int) -> bool:
    """One that cannot shrink has as many free pages as before."""
    (before,) = connection.execute("PRAGMA freelist_count").fetchone()
    # A step of this pragma frees one page. It has no columns, so a cursor takes one step; a script goes to the end.
    connection.executescript(f"PRAGMA incremental_vacuum({max_pages})")
    (after,) = connection.execute("PRAGMA freelist_count").fetchone()
    return bool(0 < after < before)


def _fold_log(connection: sqlite3.Connection) -> bool:
    """Writers wait for this, so it waits hardly at all for readers."""
    connection.execute(f"PRAGMA busy_timeout={FOLD_TIMEOUT_MS}")
    try:
        (is_busy, _, _) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    finally:
        connection.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
    return not is_busy


def _upgrade(connection: Connection) -> None:
    config = alembic_config()
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, "head")
    except CommandError as error:
        raise ConfigurationError(
            f"The data directory was written by another version of perplex-mono: {error}"
        ) from error


def knows_revision(revision: str) -> bool:
    """Whether a database at this revision of the schema can be opened, and brought up to this version's."""
    return revision in {script.revision for script in ScriptDirectory.from_config(alembic_config()).walk_revisions()}


def alembic_config() -> Config:
    """Alembic pointed at the migrations of this installation (inside the package, or beside it in a checkout)."""
    package = Path(perplex_mono.__file__).parent
    packaged = package / "_migrations"
    config = Config()
    config.set_main_option("script_location", str(packaged if packaged.is_dir() else package.parents[1] / "migrations"))
    return config
