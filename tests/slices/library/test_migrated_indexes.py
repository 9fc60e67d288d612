"""A library of the first schema keeps everything when collections learn to have several indexes."""

from pathlib import Path

from alembic import command
from sqlalchemy import Connection, text
from sqlmodel import select

from perplex_mono.library.index_repository import IndexRepository
from perplex_mono.library.models import IndexEntry, SearchIndex
from perplex_mono.storage.database import Database, alembic_config

OLD_ROWS = (
    "INSERT INTO collections VALUES ('c', 'local', 'default', '', 'i', '2026-01-01', '2026-01-01', NULL)",
    "INSERT INTO indexes VALUES ('i', 'c', 'local', 'bert-384-x', 384, 'structure', 200, 30, 'index_i', 'active',"
    " '2026-01-01')",
    "INSERT INTO operations (id, owner_id, kind, state, priority, params, created_at, done, total, unit, failed_count,"
    " attempt, epoch) VALUES ('o', 'local', 'ingest', 'completed', 0, '{}', '2026-01-01', 2, 2, 'pages', 1, 0, 1)",
    *(
        "INSERT INTO documents (id, owner_id, collection_id, depth, operation_id, name, sha256, size_bytes, media_type,"
        " status, attempts, page_count, chunk_count, tags, meta, created_at, updated_at) VALUES"
        f" ('{key}', 'local', 'c', 0, 'o', '{key}.txt', '{key}', 1, 'text/plain', '{status}', 0, 1, {chunks}, '[]',"
        " '{}', '2026-01-01', '2026-01-01')"
        for key, status, chunks in (("ready", "ready", 7), ("failed", "failed", "NULL"))
    ),
)


def _first_schema(connection: Connection) -> None:
    config = alembic_config()
    config.attributes["connection"] = connection
    command.upgrade(config, "0001")


async def test_ready_documents_are_in_the_index_that_was_theirs(tmp_path: Path) -> None:
    database = Database(tmp_path / "perplex.db")
    async with database.write() as session:
        connection = await session.connection()
        await connection.run_sync(_first_schema)
        for row in OLD_ROWS:
            await connection.execute(text(row))
    await database.migrate()
    async with database.read() as session:
        entries = (await session.exec(select(IndexEntry))).all()
        index = await session.get_one(SearchIndex, "i")
        missing = await IndexRepository(session).count_missing(index)
    await database.close()
    assert [(entry.index_id, entry.document_id, entry.chunk_count) for entry in entries] == [("i", "ready", 7)]
    assert (index.model, index.state, index.retired_at, missing) == ("bundled", "active", None, 0)
