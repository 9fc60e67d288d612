"""SQLite and the vector tables in figures, counted where every statement and every call passes."""

import asyncio
import re
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Final, Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from sqlalchemy import Connection, Engine, event
from sqlalchemy.engine import ExceptionContext
from sqlmodel import SQLModel

from perplex_mono.errors import REFUSALS
from perplex_mono.telemetry.labels import OTHER, within

OPERATIONS: Final = frozenset({"select", "insert", "update", "delete"})
REMEMBERED_STATEMENTS: Final = 512
VectorOperation = Literal[
    "search_dense",
    "search_text",
    "commit_documents",
    "delete_documents",
    "create_table",
    "drop_table",
    "maintain",
    "purge_deleted",
]
_BUCKETS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)
_VECTOR_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0, 300.0)
_VERB = re.compile(r"\s*(?:WITH\b.*?\)\s*)?([A-Za-z]+)", re.DOTALL)
_TABLE = re.compile(r"\b(?:FROM|INTO|UPDATE)\s+[\"`\[]?(\w+)", re.IGNORECASE)
_OF_MIGRATIONS: Final = "heartbeat"  # made there, and not by a model
_BEGAN = "perplex_began"


class DatabaseMetrics:
    """Statements by what they do and the first table they name."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        labels = ["operation", "table"]
        self._statements = Counter(
            "db_operations", "Statements, by what they do and the first table they name", labels, registry=registry
        )
        self._seconds = Histogram(
            "db_operation_duration_seconds",
            "Time of a statement, waiting for the thread of its connection included",
            labels,
            buckets=_BUCKETS,
            registry=registry,
        )
        self._errors = Counter("db_errors", "Statements that failed", registry=registry)
        self._size = Gauge(
            "db_size_bytes", "Size of the database file and of its write-ahead log", ["file"], registry=registry
        )

    def watch(self, engine: Engine) -> None:
        """Count every statement of an engine."""

        def begin(connection: Connection, *_: Any) -> None:
            connection.info[_BEGAN] = time.perf_counter()

        def end(connection: Connection, _: Any, statement: str, *__: Any) -> None:
            seconds = time.perf_counter() - connection.info[_BEGAN]
            labels = labels_of(statement)
            self._statements.labels(*labels).inc()
            self._seconds.labels(*labels).observe(seconds)

        event.listen(engine, "before_cursor_execute", begin)
        event.listen(engine, "after_cursor_execute", end)
        event.listen(engine, "handle_error", self._count_error)

    def _count_error(self, context: ExceptionContext) -> None:
        if isinstance(context.original_exception, sqlite3.Error):  # a caller that was cancelled comes here too
            self._errors.inc()

    def watch_size(self, path: Path) -> None:
        """Tell the size of this database file and of the log beside it, when somebody looks."""
        for name, file in (("database", path), ("log", path.with_name(path.name + "-wal"))):
            self._size.labels(name).set_function(partial(_size, file))


class VectorMetrics:
    """Calls of the vector store."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self._calls = Counter(
            "vector_operations", "Calls of the vector store", ["operation", "outcome"], registry=registry
        )
        self._seconds = Histogram(
            "vector_operation_duration_seconds",
            "Time of a call of the vector store",
            ["operation"],
            buckets=_VECTOR_BUCKETS,
            registry=registry,
        )

    @contextmanager
    def measured(self, operation: VectorOperation) -> Iterator[None]:
        """The block is such a call."""
        started = time.perf_counter()
        outcome = "error"
        try:
            yield
            outcome = "ok"
        except (*REFUSALS, asyncio.CancelledError):
            outcome = "refused"  # a table not made yet, a caller that left: nothing against the store
            raise
        finally:
            self._calls.labels(operation, outcome).inc()
            self._seconds.labels(operation).observe(time.perf_counter() - started)


def _size(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0


@lru_cache(maxsize=REMEMBERED_STATEMENTS)
def labels_of(statement: str) -> tuple[str, str]:
    """What a statement does, and to which of our tables: the first one it names."""
    verb, table = _VERB.match(statement), _TABLE.search(statement)
    known = table is not None and (table[1] in SQLModel.metadata.tables or table[1] == _OF_MIGRATIONS)
    return within(verb[1].lower(), OPERATIONS) if verb else OTHER, table[1] if table and known else OTHER
