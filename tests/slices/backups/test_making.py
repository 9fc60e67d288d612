"""A backup is whole or is not there: taken while others write and delete, read back, without what is secret."""

import asyncio
import hashlib
import shutil
import sqlite3
import tarfile
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from perplex_mono.backups.archive import OnBytes
from perplex_mono.backups.contents import Contents, write_archive
from perplex_mono.backups.manifest import Member
from perplex_mono.backups.secrets import NEVER_KEPT_TABLES, SECRET_COLUMNS, SECRET_TABLES
from perplex_mono.backups.snapshot import held_originals
from perplex_mono.storage.blobs import BlobStore
from perplex_mono.storage.database import Database
from perplex_mono.storage.disk_full import DiskReserve
from perplex_mono.web.callers import LOCAL_CALLER
from tests.app_client import open_app
from tests.slices.backups.made import FILES, make_backup, start_backup, verify

FULL_DISK = Path("/dev/full")
# Columns whose names sound as if they held a secret, and do not.
HARMLESS = {
    "chunks.input_hash",
    "chunks.token_count",
    "embeddings.input_hash",
    "embeddings.model_key",
    "indexes.chunk_max_tokens",
    "indexes.chunk_overlap_tokens",
    "indexes.model_key",
    "pages.content_hash",
    "users.name_key",
}


def unpack_database(path: Path, folder: Path) -> sqlite3.Connection:
    """The database in the backup, opened."""
    with tarfile.open(path) as tar:
        tar.extract("perplex.db", folder, filter="data")
    return sqlite3.connect(folder / "perplex.db")


async def test_a_backup_has_the_database_and_every_original(tmp_path: Path) -> None:
    async with open_app(tmp_path) as app:
        await app.ingest(*FILES)
        path = await make_backup(app)
        [view] = (await app.client.get("/api/v1/backups")).json()["items"]
    manifest = verify(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert view["counts"] == {"collections": 1, "documents": 3, "files": 3}
    assert view["size_bytes"] == path.stat().st_size
    assert {member.name for member in manifest.members[1:]} == {
        f"blobs/{hashlib.sha256(content).hexdigest()}" for _, content in FILES
    }
    with closing(unpack_database(path, tmp_path)) as database:
        assert database.execute("SELECT count(*) FROM documents WHERE status = 'ready'").fetchone() == (3,)
        assert database.execute("SELECT count(*) FROM operations WHERE kind = 'backup'").fetchone() == (0,)
    assert [file.name for file in path.parent.iterdir()] == [path.name]


async def test_its_progress_is_counted_in_bytes(tmp_path: Path) -> None:
    async with open_app(tmp_path) as app:
        await app.ingest(*FILES)
        accepted = await start_backup(app)
        operation = await app.settle(accepted["operation_id"])
        events = await app.events(accepted["operation_id"])
    assert (operation["kind"], operation["unit"]) == ("backup", "bytes")
    last = [event["data"] for event in events if event["type"] == "progress"][-1]
    assert last["current"] == {"step": "reading it back"}
    assert 0 < last["done"] <= operation["total"]
    assert events[-1]["data"]["backup_id"] == accepted["backup_id"]


async def test_what_is_deleted_meanwhile_is_in_it_and_then_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the copy of the database and that of the originals everything is deleted."""
    async with open_app(tmp_path) as app:
        documents = await app.ingest(*FILES)
        loop, original = asyncio.get_running_loop(), Contents.open
        seen: list[str] = []

        async def delete_all() -> None:
            for document in documents:
                answer = await app.client.delete(f"/api/v1/documents/{document['id']}")
                await app.settle(answer.json()["operation_id"])

        def deleting_first(contents: Contents, member: Member) -> Any:
            if not seen:
                asyncio.run_coroutine_threadsafe(delete_all(), loop).result(30)
            seen.append(member.name)
            return original(contents, member)

        monkeypatch.setattr(Contents, "open", deleting_first)
        path = await make_backup(app)
        assert len(verify(path).members) == 4
        assert not any((app.data / "blobs").glob("[0-9a-f]*"))
        assert not (app.data / "blobs" / "held").exists()


async def test_originals_are_held_once_nobody_is_deleting(database: Database, tmp_path: Path) -> None:
    """A deletion removes the bytes before it commits: a copy made in between would have the row without them."""
    blobs = BlobStore(tmp_path / "blobs", reserve_bytes=0, reserve_fraction=0.0)
    blobs.open()
    happened: list[str] = []

    async def hold() -> None:
        async with held_originals(database, blobs):
            happened.append("held")

    async with database.write() as session:
        await session.connection()
        holding = asyncio.create_task(hold())
        while not holding.done() and len(happened) < 100:
            await asyncio.sleep(0)
            happened.append("deleting")
    await holding
    assert happened.index("held") == 100


async def test_one_at_a_time(tmp_path: Path) -> None:
    async with open_app(tmp_path) as app:
        first = await start_backup(app)
        answer = await app.client.post("/api/v1/backups", json={})
        await app.settle(first["operation_id"])
        await make_backup(app)
        assert answer.status_code == 409
        assert first["operation_id"] in answer.json()["detail"]
        assert len((await app.client.get("/api/v1/backups")).json()["items"]) == 2


async def test_without_room_it_is_refused_before_it_begins(tmp_path: Path) -> None:
    async with open_app(tmp_path) as app:
        app.container.backups._handler._reserve = DiskReserve(10**18, 0.0)
        app.container.backups._handler._repository.folder.mkdir()
        full = await app.client.post("/api/v1/backups", json={})
        items = (await app.client.get("/api/v1/operations?kind=backup")).json()["items"]
    assert full.status_code == 507, full.text
    assert "that are needed" in full.json()["detail"]
    assert items == []


async def test_a_folder_that_cannot_be_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    async with open_app(tmp_path, backups={"directory": str(tmp_path / "file" / "backups")}) as app:
        refused = await app.client.post("/api/v1/backups", json={})
        assert (await app.client.get("/api/v1/backups")).json() == {"items": []}
    assert refused.status_code == 503
    assert "backups.directory" in refused.json()["detail"]


async def test_a_cancelled_backup_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_app(tmp_path) as app:
        await app.ingest(*FILES)
        loop, original = asyncio.get_running_loop(), Contents.open
        ids: list[str] = []

        def cancelling_first(contents: Contents, member: Member) -> Any:
            cancel = app.client.post(f"/api/v1/operations/{ids[0]}/cancel")
            asyncio.run_coroutine_threadsafe(cancel, loop).result(30)
            return original(contents, member)

        monkeypatch.setattr(Contents, "open", cancelling_first)
        ids.append((await start_backup(app))["operation_id"])
        assert (await app.settle(ids[0]))["state"] == "cancelled"
        monkeypatch.undo()
        path = await make_backup(app)  # waits until the other one has put everything away
        assert [file.name for file in path.parent.iterdir()] == [path.name]
        assert not (app.data / "blobs" / "held").exists()


@pytest.mark.parametrize("harm", ["missing", "changed"])
async def test_of_a_library_with_a_damaged_original_there_is_no_backup(tmp_path: Path, harm: str) -> None:
    async with open_app(tmp_path) as app:
        [document] = await app.ingest(FILES[0])
        blob = app.data / "blobs" / document["sha256"]
        blob.unlink() if harm == "missing" else blob.write_bytes(b"x" * blob.stat().st_size)
        operation = await app.settle((await start_backup(app))["operation_id"])
        items = (await app.client.get("/api/v1/backups")).json()["items"]
    assert (operation["state"], operation["error"]["type"]) == ("failed", "DataCorrupt")
    assert items == []
    assert list((app.data / "backups").iterdir()) == []


async def test_what_cannot_be_read_back_is_no_backup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that stores something else than it was given."""

    def write_badly(path: Path, contents: Contents, on_bytes: OnBytes) -> None:
        write_archive(path, contents, on_bytes)
        with path.open("r+b") as file:
            file.seek(-4000, 2)
            file.write(b"rot")

    monkeypatch.setattr("perplex_mono.backups.jobs.write_archive", write_badly)
    async with open_app(tmp_path) as app:
        await app.ingest(*FILES)
        operation = await app.settle((await start_backup(app))["operation_id"])
        items = (await app.client.get("/api/v1/backups")).json()["items"]
    assert (operation["state"], operation["error"]["type"]) == ("failed", "DataCorrupt")
    assert items == []


@pytest.mark.skipif(not FULL_DISK.exists(), reason="there is no device that is always full")
async def test_a_disk_that_fills_up_ends_it_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def write_to_a_full_disk(_: Path, contents: Contents, on_bytes: OnBytes) -> None:
        write_archive(FULL_DISK, contents, on_bytes)

    monkeypatch.setattr("perplex_mono.backups.jobs.write_archive", write_to_a_full_disk)
    async with open_app(tmp_path) as app:
        await app.ingest(*FILES)
        operation = await app.settle((await start_backup(app))["operation_id"])
    assert (operation["state"], operation["error"]["type"]) == ("failed", "StorageFull")
    assert list((app.data / "backups").iterdir()) == []


@pytest.mark.parametrize("include_secrets", [False, True])
async def test_secrets_leave_only_when_asked_for_and_sessions_never(tmp_path: Path, include_secrets: bool) -> None:
    async with open_app(tmp_path) as app:
        (app.data / "secret.key").write_bytes(b"key-on-disk")
        with closing(sqlite3.connect(app.data / "perplex.db")) as database, database:
            add_accounts(database)
        path = await make_backup(app, include_secrets=include_secrets)
    content = path.read_bytes()
    assert b"walrus" in content  # the name of the user
    assert b"refresh-hash" not in content
    for secret in (b"password-hash", b"key-hash", b"key-on-disk"):
        assert (secret in content) is include_secrets
    assert verify(path).includes_secrets is include_secrets


def add_accounts(database: sqlite3.Connection) -> None:
    """Tables as accounts have them, unless they are there, and a row in each."""
    database.execute("CREATE TABLE IF NOT EXISTS users (id TEXT PRIMARY KEY, name TEXT, password_hash TEXT NOT NULL)")
    database.execute("CREATE TABLE IF NOT EXISTS sessions (id TEXT PRIMARY KEY, user_id TEXT, refresh_hash TEXT)")
    database.execute("CREATE TABLE IF NOT EXISTS api_keys (id TEXT PRIMARY KEY, user_id TEXT, secret_hash TEXT)")
    insert(database, "users", {"id": "u", "name": "walrus", "password_hash": "password-hash"})
    insert(database, "sessions", {"id": "s", "user_id": "u", "refresh_hash": "refresh-hash"})
    insert(database, "api_keys", {"id": "k", "user_id": "u", "secret_hash": "key-hash"})


def insert(database: sqlite3.Connection, table: str, values: Mapping[str, str]) -> None:
    """A row; columns that must be filled and are not named are empty."""
    columns = database.execute(f"PRAGMA table_info({table})").fetchall()
    row = {name: "" for _, name, _, is_needed, default, _ in columns if is_needed and default is None} | dict(values)
    marks = ", ".join("?" for _ in row)
    database.execute(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({marks})", tuple(row.values()))


async def test_every_column_that_sounds_secret_has_a_rule(tmp_path: Path) -> None:
    """A new table with a hash, a token or a key must say here or in the rules what becomes of it."""
    async with open_app(tmp_path) as app:
        data = app.data
    with closing(sqlite3.connect(data / "perplex.db")) as database:
        query = "SELECT m.name, c.name FROM sqlite_master m, pragma_table_info(m.name) c WHERE m.type = 'table'"
        rows = database.execute(query).fetchall()
    ruled = {f"{table}.{name}" for table, columns in SECRET_COLUMNS.items() for name in columns}
    emptied = {*NEVER_KEPT_TABLES, *SECRET_TABLES}
    sounding = {
        f"{table}.{name}"
        for table, name in rows
        if table not in emptied and any(word in name for word in ("hash", "token", "key", "secret", "password"))
    }
    assert sounding - ruled - HARMLESS == set()


async def test_deleted_text_does_not_come_along(tmp_path: Path) -> None:
    async with open_app(tmp_path) as app:
        [document, _] = await app.ingest(("gone.txt", b"The zanzibarine word. " * 50), FILES[0])
        await app.settle((await app.client.delete(f"/api/v1/documents/{document['id']}")).json()["operation_id"])
        content = (await make_backup(app)).read_bytes()
    assert b"zanzibarine" not in content
    assert b"heron" in content


async def test_a_restart_in_the_middle_makes_it_once(tmp_path: Path) -> None:
    """The operation goes on at the next start, and what was left half made is gone."""
    async with open_app(tmp_path) as app:
        await app.ingest(*FILES)
        accepted = await start_backup(app)
        await app.settle(accepted["operation_id"])
        path = await app.container.backups.file(accepted["backup_id"], LOCAL_CALLER)
    shutil.move(path, path.with_name(path.name + ".partial"))
    path.with_name(path.name + ".partial.db").touch()
    with closing(sqlite3.connect(app.data / "perplex.db")) as database, database:
        database.execute("UPDATE operations SET state = 'running' WHERE kind = 'backup'")
    async with open_app(tmp_path) as app:
        assert (await app.settle(accepted["operation_id"]))["state"] == "completed"
        assert [file.name for file in path.parent.iterdir()] == [path.name]
    assert verify(path).backup_id == accepted["backup_id"]


async def test_who_made_fetched_and_removed_one_is_written_down(tmp_path: Path) -> None:
    async with open_app(tmp_path) as app:
        await app.set_up()
        accepted = await start_backup(app, include_secrets=True)
        await app.settle(accepted["operation_id"])
        path = f"/api/v1/backups/{accepted['backup_id']}"
        assert (await app.client.get(f"{path}/file")).status_code == 200
        assert (await app.client.delete(path)).status_code == 204
        events = (await app.client.get("/api/v1/audit")).json()["items"][:3]
    assert [(event["action"], event["actor_name"]) for event in events] == [
        ("backup_deleted", "ada"),
        ("backup_fetched", "ada"),
        ("backup_started", "ada"),
    ]
    assert {event["target"] for event in events} == {accepted["backup_id"]}
    assert events[1]["details"] == events[2]["details"] == {"include_secrets": True}
