"""What many tests need: a migrated database in a folder of its own, and a ledger on it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from perplex_mono.operations.events import EventBus
from perplex_mono.operations.ledger import Ledger
from perplex_mono.operations.service import OperationService
from perplex_mono.storage.database import Database


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    """A real SQLite database with the current schema."""
    opened = Database(tmp_path / "perplex.db")
    await opened.migrate()
    yield opened
    await opened.close()


@pytest.fixture
def bus() -> EventBus:
    """An event bus."""
    return EventBus()


@pytest.fixture
def ledger(database: Database, bus: EventBus) -> Ledger:
    """A ledger with short leases."""
    return Ledger(database, bus, lease_seconds=30, max_attempts=3)


@pytest.fixture
def operations(database: Database, ledger: Ledger) -> OperationService:
    """The operations of that ledger, with nobody running any."""
    return OperationService(database, ledger, lambda _: None)
