"""The migrations build exactly the tables that the models describe."""

import re
import sqlite3
from pathlib import Path

import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection

from perplex_mono.configuration.models import SettingOverride
from perplex_mono.library.models import Document
from perplex_mono.operations.models import Operation
from perplex_mono.sources.models import Source
from perplex_mono.storage.database import Database

METADATA = Document.metadata  # importing the models has filled it
BESIDE_THE_MODELS = {"heartbeat", "alembic_version"}


async def test_autogenerate_finds_no_difference(tmp_path: Path) -> None:
    database = Database(tmp_path / "migrated.db")
    await database.migrate()

    def compare(connection: Connection) -> list[object]:
        def include(_object: object, name: str | None, kind: str, *_: object) -> bool:
            return not (kind == "table" and name in BESIDE_THE_MODELS)

        context = MigrationContext.configure(connection, opts={"include_object": include, "compare_type": True})
        return list(compare_metadata(context, METADATA))

    async with database.read() as session:
        differences = await (await session.connection()).run_sync(compare)
    await database.close()
    assert differences == []


async def test_tables_and_indexes_are_spelled_alike(tmp_path: Path) -> None:
    """What autogenerate does not look at: partial indexes, rowid, autoincrement, keys, foreign keys."""
    database = Database(tmp_path / "migrated.db")
    await database.migrate()
    await database.close()
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'created.db'}")
    assert Operation.metadata is METADATA
    assert Source.metadata is METADATA
    assert SettingOverride.metadata is METADATA
    METADATA.create_all(engine)
    engine.dispose()
    migrated, created = schema_of(tmp_path / "migrated.db"), schema_of(tmp_path / "created.db")
    assert migrated == created


def schema_of(path: Path) -> dict[str, object]:
    with sqlite3.connect(path) as connection:
        entries = connection.execute("SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall()
        tables = [name for kind, name, _ in entries if kind == "table" and not name.startswith("sqlite_")]
        schema: dict[str, object] = {
            name: " ".join(sql.split()).replace('"', "") for kind, name, sql in entries if kind == "index"
        }
        for table in set(tables) - BESIDE_THE_MODELS:
            columns = connection.execute(f"PRAGMA table_info({table})").fetchall()
            schema[table] = sorted(column[1:] for column in columns)  # a migration adds its columns at the end
            keys = connection.execute(f"PRAGMA foreign_key_list({table})").fetchall()
            schema[f"{table} references"] = sorted(key[2:5] for key in keys)
            sql = next(sql for kind, name, sql in entries if name == table)
            schema[f"{table} options"] = sorted(re.findall(r"AUTOINCREMENT|WITHOUT ROWID", sql.upper()))
    connection.close()
    return schema
