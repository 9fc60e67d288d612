"""What many tests need: a migrated database in a folder of its own, and a ledger on it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from perplex_mono.inference.fakes import FakeEmbedder
from perplex_mono.inference.loading import find_files
from perplex_mono.inference.models import EmbeddingModel, EmbeddingModels
from perplex_mono.ingestion.chunking import find_fault
from perplex_mono.library.collections import CollectionService
from perplex_mono.library.recipes import IndexRecipes
from perplex_mono.operations.events import EventBus
from perplex_mono.operations.ledger import Ledger
from perplex_mono.operations.service import OperationService
from perplex_mono.storage.database import Database
from tests.spans import recorded_spans


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


@pytest.fixture
def collections(database: Database, ledger: Ledger) -> CollectionService:
    """The collections of that database, cut as by default and embedded by a stand-in."""
    model = EmbeddingModel("bundled", FakeEmbedder(), find_files("bundled").token_counter())
    models = EmbeddingModels(model, lambda name: model)
    recipes = IndexRecipes(models, find_fault, strategy="structure", max_tokens=200, overlap_tokens=30)
    return CollectionService(database, ledger, recipes)


@pytest.fixture
def tracer() -> None:
    """Spans are recorded, as in a server."""
    recorded_spans()
