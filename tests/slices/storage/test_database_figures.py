"""Every statement is counted where it passes, and an error that is logged does not tell what people stored."""

import sqlite3

import pytest
from prometheus_client import CollectorRegistry
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from perplex_mono.errors import StorageFull
from perplex_mono.operations.models import Event
from perplex_mono.storage.database import Database
from perplex_mono.storage.metrics import DatabaseMetrics
from tests.figures import figure


@pytest.fixture
def registry(database: Database) -> CollectorRegistry:
    """What is counted of the database from now on."""
    registry = CollectorRegistry()
    database.measure_with(DatabaseMetrics(registry))
    return registry


async def test_reads_and_writes_are_counted(database: Database, registry: CollectorRegistry) -> None:
    async with database.read() as session:
        await (await session.connection()).execute(text("SELECT count(*) FROM operations"))
    await database.check()
    assert figure(registry, "db_operations_total", operation="select", table="operations") == 1
    assert figure(registry, "db_operation_duration_seconds_count", operation="select", table="operations") == 1
    assert figure(registry, "db_operations_total", operation="update", table="heartbeat") == 1
    assert figure(registry, "db_errors_total") == 0


async def test_an_error_is_counted_and_keeps_what_was_stored_to_itself(
    database: Database, registry: CollectorRegistry
) -> None:
    with pytest.raises(DBAPIError) as failed:
        async with database.write() as session:
            session.add(Event(operation_id="no such operation", owner_id="local", type="the diary of a walrus"))
    assert figure(registry, "db_errors_total") == 1
    assert "FOREIGN KEY" in str(failed.value)
    assert "walrus" not in str(failed.value)


async def test_a_full_disk_is_counted_although_it_becomes_an_error_of_ours(
    database: Database, registry: CollectorRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr("perplex_mono.storage.sqlite_driver.OneTripCursor.execute", full)
    with pytest.raises(StorageFull):
        await database.check()
    assert figure(registry, "db_errors_total") == 1
