"""SQLite as the truth: whole transactions or nothing, one writer, readers that cannot write, news only after commit."""

import asyncio
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError, OperationalError
from sqlmodel import col, func, select
from sqlmodel.ext.asyncio.session import AsyncSession

from perplex_mono.errors import ConfigurationError
from perplex_mono.operations.models import Event, Operation
from perplex_mono.storage.database import Database, after_commit


def operation(number: int = 0) -> Operation:
    return Operation(owner_id="local", kind="ingest", params={"number": number})


async def count(database: Database) -> int:
    async with database.read() as session:
        return (await session.exec(select(func.count()).select_from(Operation))).one()


async def pragma(session: AsyncSession, name: str) -> object:
    connection = await session.connection()
    return (await connection.execute(text(f"PRAGMA {name}"))).scalar_one()


async def test_an_error_rolls_everything_back(database: Database) -> None:
    async def fail() -> None:
        async with database.write() as session:
            session.add(operation())
            await session.flush()
            raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        await fail()
    assert await count(database) == 0


async def test_followers_are_told_after_the_commit_and_in_order(database: Database) -> None:
    told: list[str] = []
    async with database.write() as session:
        session.add(operation())
        after_commit(session, lambda: told.append("first"))
        after_commit(session, lambda: told.append("second"))
        await session.flush()
        assert told == []
    assert told == ["first", "second"]


async def test_followers_are_never_told_of_what_was_rolled_back(database: Database) -> None:
    told: list[str] = []

    async def fail() -> None:
        async with database.write() as session:
            after_commit(session, lambda: told.append("never"))
            raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        await fail()
    async with database.write() as session:
        session.add(operation())
    assert told == []


async def test_a_commit_that_fails_tells_nobody(database: Database) -> None:
    told: list[str] = []

    async def fail() -> None:
        async with database.write() as session:
            session.add(Event(operation_id="missing", owner_id="local", type="queued"))
            after_commit(session, lambda: told.append("never"))

    with pytest.raises(IntegrityError, match="FOREIGN KEY"):
        await fail()
    assert told == []


async def test_a_cancelled_write_leaves_nothing_half(database: Database) -> None:
    """Each writer adds two rows with a pause between; whatever was cancelled, rows come in pairs."""

    async def write_two(number: int) -> None:
        async with database.write() as session:
            session.add(operation(number))
            await session.flush()
            await asyncio.sleep(0.005)
            session.add(operation(number))

    tasks = [asyncio.create_task(write_two(number)) for number in range(40)]
    for delay, task in enumerate(tasks):
        if delay % 2:
            await asyncio.sleep(0.003)
            task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    async with database.read() as session:
        rows = (await session.exec(select(Operation))).all()
    numbers = [row.params["number"] for row in rows]
    assert all(numbers.count(number) == 2 for number in numbers)
    assert {number for number in range(40) if not number % 2} <= set(numbers)


async def test_a_write_cancelled_in_its_commit_is_told_when_it_is_durable(database: Database) -> None:
    told: list[str] = []

    async def write() -> None:
        async with database.write() as session:
            session.add(operation())
            after_commit(session, lambda: told.append("durable"))
            await session.flush()
            asyncio.get_running_loop().call_soon(task.cancel)

    task = asyncio.create_task(write())
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (await count(database), told) == (1, ["durable"])


async def test_a_write_cancelled_in_the_middle_of_a_statement_gives_its_lock_back(database: Database) -> None:
    """SQLite keeps a closed connection with an open statement alive, its write lock included."""
    async with database.write() as session:
        session.add_all([operation() for _ in range(200)])
    kept: list[BaseException] = []

    async def write() -> None:
        async with database.write() as session:
            session.add(operation())
            await session.flush()
            while True:
                await session.exec(select(Operation))

    for attempt in range(30):
        task = asyncio.create_task(write())
        await asyncio.sleep(0.01 + attempt * 0.0007)
        task.cancel()
        with pytest.raises(asyncio.CancelledError) as cancelled:
            await task
        kept.append(cancelled.value)
        async with asyncio.timeout(5), database.write() as session:
            session.add(operation())
    assert await count(database) == 230


async def test_two_hundred_concurrent_writes_all_arrive(database: Database) -> None:
    async def write(number: int) -> None:
        async with database.write() as session:
            known = (await session.exec(select(func.count()).select_from(Operation))).one()
            session.add(Operation(owner_id="local", kind="ingest", total=known, params={"number": number}))

    await asyncio.gather(*(write(number) for number in range(200)))
    async with database.read() as session:
        totals = (await session.exec(select(Operation.total).order_by(col(Operation.total)))).all()
    assert list(totals) == list(range(200)), "each write saw all the writes before it"


async def test_readers_cannot_write(database: Database) -> None:
    async with database.read() as session:
        session.add(operation())
        with pytest.raises(OperationalError, match="readonly"):
            await session.flush()


async def test_a_reader_holds_nothing_and_sees_the_newest_commit(database: Database) -> None:
    async with database.read() as session:
        before = (await session.exec(select(func.count()).select_from(Operation))).one()
        changes = database.changes
        async with database.write() as writing:
            writing.add(operation())
        assert (await session.exec(select(func.count()).select_from(Operation))).one() == before + 1
    assert database.changes == changes + 1
    assert await count(database) == before + 1


async def test_connections_are_set_for_durability(database: Database) -> None:
    async with database.write() as session:
        assert await pragma(session, "journal_mode") == "wal"
        assert await pragma(session, "synchronous") == 2
        assert await pragma(session, "foreign_keys") == 1
    async with database.read() as session:
        assert await pragma(session, "query_only") == 1
        assert await pragma(session, "foreign_keys") == 1


async def test_migrating_again_changes_nothing(database: Database) -> None:
    async def schema() -> list[str]:
        async with database.read() as session:
            connection = await session.connection()
            return [row[0] for row in await connection.execute(text("SELECT sql FROM sqlite_master ORDER BY name"))]

    async with database.write() as session:
        session.add(operation())
    before = await schema()
    await database.migrate()
    assert await schema() == before
    assert await count(database) == 1


async def test_a_database_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    newer = Database(tmp_path / "perplex.db")
    await newer.migrate()
    async with newer.write() as session:
        connection = await session.connection()
        await connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    await newer.close()
    opened = Database(tmp_path / "perplex.db")
    with pytest.raises(ConfigurationError, match=r"another version of perplex-mono.*9999"):
        await opened.migrate()
    await opened.close()


async def test_closing_folds_the_log_into_the_file(tmp_path: Path) -> None:
    opened = Database(tmp_path / "perplex.db")
    await opened.migrate()
    assert (tmp_path / "perplex.db-wal").exists()
    await opened.close()
    assert not (tmp_path / "perplex.db-wal").exists()


async def test_the_check_fails_when_the_database_cannot_be_written(database: Database) -> None:
    await database.check()
    async with database.write() as session:
        connection = await session.connection()
        await connection.execute(text("DROP TABLE heartbeat"))
    with pytest.raises(OperationalError, match="heartbeat"):
        await database.check()
