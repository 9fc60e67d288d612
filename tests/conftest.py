"""What many tests need: a migrated database in a folder of its own, and a ledger on it."""

import os
from collections.abc import AsyncIterator
from pathlib import Path

import hypothesis
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


def pytest_configure() -> None:
    """Whoever's machine it is: no settings of theirs, no proxy before loopback, no deadline for a generated example."""
    for name in list(os.environ):
        is_theirs = name.startswith(("PERPLEX_", "OTEL_")) and name != "PERPLEX_SHARED_DATA"
        if is_theirs or name in ("COLUMNS", "FORCE_COLOR"):
            del os.environ[name]
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1,localhost"
    hypothesis.settings.load_profile("ci")


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
