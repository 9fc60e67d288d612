"""A restore is all or nothing: whatever is wrong with the file, the library that is there stays as it is."""

import asyncio
import errno
import hashlib
import shutil
import sqlite3
import tarfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from perplex_mono.backups import manifest as manifests
from perplex_mono.backups.archive import read_manifest
from perplex_mono.backups.manifest import Manifest, Member
from perplex_mono.backups.restore import Restored, restore
from perplex_mono.doctor.service import open_doctor
from perplex_mono.errors import Conflict, DataCorrupt, InvalidInput, StorageFull
from perplex_mono.storage.data_directory import DataDirectory
from perplex_mono.storage.replacing import JOURNAL, Replacement, complete_replacement
from tests.app_client import open_app, settings_for
from tests.slices.backups.forged import HARMS, forge, members_of, with_database, write
from tests.slices.backups.made import FILES, WORDS, make_backup

OLD = ("curlew.txt", b"The curlew was here before. " * 20)


@pytest.fixture(scope="module")
def backup(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A backup of three texts."""
    folder = tmp_path_factory.mktemp("made")

    async def make() -> Path:
        async with open_app(folder) as app:
            (app.data / "models" / "tuned").mkdir(parents=True)
            (app.data / "models" / "tuned" / "model.safetensors").write_bytes(b"weights")
            await app.ingest(*FILES)
            return await make_backup(app)

    return asyncio.run(make()).rename(folder / "backup.tar")


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library of another text; its folder."""
    folder = tmp_path_factory.mktemp("library")

    async def make() -> None:
        async with open_app(folder) as app:
            await app.ingest(OLD)

    asyncio.run(make())
    return folder


@pytest.fixture
def old(library: Path, tmp_path: Path) -> Path:
    """A copy of it that a test may do with what it likes."""
    shutil.copytree(library, tmp_path, dirs_exist_ok=True)
    return tmp_path


async def put_back(directory: Path, file: Path) -> Restored:
    return await restore(settings_for(directory), file, on_step=lambda _: None, on_bytes=lambda _: None)


def contents(directory: Path) -> dict[str, bytes]:
    """Every file of the data directory, except the lock, which names the process that had it last."""
    data = directory / "data"
    files = (path for path in data.rglob("*") if path.is_file() and path.name != "lock")
    return {str(path.relative_to(data)): path.read_bytes() for path in files}


async def test_everything_is_back_and_found_once(tmp_path: Path, backup: Path) -> None:
    restored = await put_back(tmp_path, backup)
    assert restored.kept_aside is None
    assert (tmp_path / "data" / "models" / "tuned" / "model.safetensors").read_bytes() == b"weights"
    async with open_doctor(settings_for(tmp_path)) as doctor:
        assert (await doctor.examine(lambda _: None)).healthy
    async with open_app(tmp_path) as app:
        for word in WORDS:
            assert set(await app.names_found(word, mode="sparse")) == {f"{word}.txt"}
        documents = (await app.client.get("/api/v1/collections/default/documents")).json()["items"]
        assert sorted(document["name"] for document in documents) == sorted(name for name, _ in FILES)
        assert set(await app.vector_ids()) == {document["id"] for document in documents}
        assert app.embedder.calls == []
        operations = (await app.client.get("/api/v1/operations?kind=backup")).json()["items"]
    assert operations == []


async def test_the_library_before_is_kept_whole(old: Path, backup: Path) -> None:
    restored = await put_back(old, backup)
    assert restored.kept_aside is not None
    async with open_app(old) as app:
        assert await app.names_found("curlew", mode="sparse") == []
        assert await app.names_found("heron", mode="sparse") == ["heron.txt"]
    aside = Path(restored.kept_aside)
    aside.rename(aside.parent.parent / "elsewhere")
    (old / "home").mkdir()
    (old / "elsewhere").rename(old / "home" / "data")
    async with open_app(old / "home") as app:
        assert await app.names_found("curlew", mode="sparse") == ["curlew.txt"]


async def test_backups_kept_in_the_data_directory_stay_there(old: Path) -> None:
    async with open_app(old) as app:
        path = await make_backup(app)
        [document] = (await app.client.get("/api/v1/collections/default/documents")).json()["items"]
        await app.settle((await app.client.delete(f"/api/v1/documents/{document['id']}")).json()["operation_id"])
    await put_back(old, path)
    async with open_app(old) as app:
        assert await app.names_found("curlew", mode="sparse") == ["curlew.txt"]
        [view] = (await app.client.get("/api/v1/backups")).json()["items"]
    assert view["id"] in path.name


async def test_a_directory_in_use_is_left_alone(old: Path, backup: Path) -> None:
    async with open_app(old) as app:
        with pytest.raises(Conflict, match="in use by another process"):
            await put_back(old, backup)
        assert await app.names_found("curlew", mode="sparse") == ["curlew.txt"]


@pytest.mark.parametrize("harm", HARMS.values(), ids=HARMS)
async def test_a_file_that_was_changed_is_refused_and_nothing_changes(
    old: Path, backup: Path, harm: Callable[[Path], None]
) -> None:
    file = old / "changed.tar"
    file.write_bytes(backup.read_bytes())
    harm(file)
    before = contents(old)
    with pytest.raises(DataCorrupt, match="backup"):
        await put_back(old, file)
    assert contents(old) == before


def same(manifest: Manifest) -> Manifest:
    return manifest


@pytest.mark.parametrize(
    "name",
    [
        "../outside",
        "/tmp/outside",
        "blobs/../../outside",
        "models/../outside",
        "models//outside",
        "models/.hidden",
        "blobs/" + "A" * 64,
        "perplex.db",
        "lock",
        "restore.journal",
        "secrets/restore.journal",
        "secrets/perplex.db",
        "models/a\0b",
        "models/" + "x" * 200,
    ],
)
async def test_a_forged_file_cannot_name_a_place(old: Path, backup: Path, name: str) -> None:
    file = old / "forged.tar"
    forge(backup, file, same, **{name: b"owned"})
    before = contents(old)
    with pytest.raises(DataCorrupt):
        await put_back(old, file)
    assert contents(old) == before
    assert not list(old.rglob("outside"))


async def test_links_and_other_members_are_refused(old: Path, backup: Path) -> None:
    """In the place of an original, with a correct header, is a link to a file outside."""
    content = bytearray(backup.read_bytes())
    start = content.rindex(b"blobs/")
    header = tarfile.TarInfo.frombuf(bytes(content[start : start + 512]), "ascii", "strict")
    for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.GNUTYPE_SPARSE, tarfile.XHDTYPE):
        header.type, header.linkname = kind, "/etc/passwd"
        forged = header.tobuf(tarfile.GNU_FORMAT)[:512]
        file = old / "forged.tar"
        file.write_bytes(bytes(content[:start]) + forged + bytes(content[start + 512 :]))
        before = contents(old)
        with pytest.raises(DataCorrupt):
            await put_back(old, file)
        assert contents(old) == before


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format_version": manifests.FORMAT_VERSION + 1, "product_version": "9.0"}, "newer perplex-mono .9.0."),
        ({"schema_revision": "9999"}, "does not know"),
    ],
)
async def test_a_backup_of_a_newer_version_is_refused(
    old: Path, backup: Path, change: dict[str, Any], said: str
) -> None:
    file = old / "newer.tar"
    forge(backup, file, lambda manifest: msgspec.structs.replace(manifest, **change))
    before = contents(old)
    with pytest.raises(InvalidInput, match=said):
        await put_back(old, file)
    assert contents(old) == before


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TRIGGER t AFTER INSERT ON documents BEGIN DELETE FROM documents; END",
        "UPDATE alembic_version SET version_num = '9999'",
        "DELETE FROM collections",
        "UPDATE documents SET sha256 = 'missing ' || id",
    ],
)
async def test_a_forged_database_is_refused(old: Path, backup: Path, statement: str) -> None:
    file = old / "forged.tar"
    with_database(backup, file, statement)
    before = contents(old)
    with pytest.raises(DataCorrupt):
        await put_back(old, file)
    assert contents(old) == before


async def test_an_interrupted_restore_leaves_nothing(old: Path, backup: Path) -> None:
    """Ctrl-C while a file is unpacked: the thread that does so has ended when the folder is removed."""
    before, main = contents(old), asyncio.current_task()
    assert main is not None

    def interrupt(_: int) -> None:
        main.cancel()

    restoring = restore(settings_for(old), backup, on_step=lambda _: None, on_bytes=interrupt)
    with pytest.raises(asyncio.CancelledError):
        await restoring
    main.uncancel()
    assert contents(old) == before
    assert list((old / "data").glob("restoring-*")) == []


async def test_without_room_nothing_is_unpacked(old: Path, backup: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: _Usage(10_000_000, 9_999_000, 1_000))
    before = contents(old)
    with pytest.raises(StorageFull):
        await put_back(old, backup)
    assert contents(old) == before


class _Usage:
    def __init__(self, total: int, used: int, free: int) -> None:
        self.total, self.used, self.free = total, used, free


async def test_an_older_schema_is_brought_up_to_this_version(tmp_path: Path, backup: Path) -> None:
    """Revision 0007 added the tables of accounts, 0008 that of settings; a database at 0006 has neither."""
    with_database(backup, tmp_path / "older.tar", "DROP TABLE shares")
    found = list(members_of(tmp_path / "older.tar"))
    path = tmp_path / "older.db"
    with closing(sqlite3.connect(path)) as database, database:
        for table in ("api_keys", "sessions", "users", "audit_events", "setting_overrides"):
            database.execute(f"DROP TABLE {table}")
        database.execute("UPDATE alembic_version SET version_num = '0006'")
    data = path.read_bytes()
    found[0] = Member("perplex.db", len(data), hashlib.sha256(data).hexdigest()), data
    write(tmp_path / "older.tar", msgspec.structs.replace(read_manifest(backup), schema_revision="0006"), found)
    await put_back(tmp_path, tmp_path / "older.tar")
    async with open_app(tmp_path) as app:
        assert await app.names_found("heron", mode="sparse") == ["heron.txt"]


@pytest.mark.parametrize("moved", range(6))
def test_a_swap_is_completed_from_wherever_it_stopped(tmp_path: Path, moved: int) -> None:
    """Two things go out, three come in, one of a name that both have; any number of the moves is done already."""
    staging, aside = tmp_path / "restoring-1", tmp_path / "before-restore-1"
    staging.mkdir()
    for name in ("a", "b"):
        (tmp_path / name).write_text(f"old {name}")
    for name in ("b", "c", "d"):
        (staging / name).write_text(f"new {name}")
    steps = [(tmp_path / "a", aside / "a"), (tmp_path / "b", aside / "b")]
    steps += [(staging / name, tmp_path / name) for name in ("b", "c", "d")]
    if moved:
        aside.mkdir()
    for source, target in steps[:moved]:
        source.rename(target)
    journal = Replacement("restoring-1", "before-restore-1", ["a", "b"], ["b", "c", "d"])
    (tmp_path / JOURNAL).write_bytes(msgspec.json.encode(journal))
    for _ in range(2):
        complete_replacement(tmp_path)
    present = {
        path.relative_to(tmp_path).as_posix(): path.read_text() for path in tmp_path.rglob("*") if path.is_file()
    }
    assert present == {
        "before-restore-1/a": "old a",
        "before-restore-1/b": "old b",
        "b": "new b",
        "c": "new c",
        "d": "new d",
    }
    assert not staging.exists()


async def test_a_swap_that_fails_halfway_is_finished_by_the_next_opening(
    old: Path, backup: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that refuses one of the moves: what waits to come in is not thrown away."""
    rename = Path.rename

    def refuse(path: Path, target: Path) -> Path:
        if path.name == "perplex.db" and path.parent.name.startswith("restoring-"):
            raise OSError(errno.EIO, "Input/output error")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(OSError, match="Input/output error"):
        await put_back(old, backup)
    monkeypatch.undo()
    async with open_app(old) as app:
        assert await app.names_found("heron", mode="sparse") == ["heron.txt"]
        assert await app.names_found("curlew", mode="sparse") == []


def test_what_a_killed_restore_left_goes_when_the_directory_is_opened(tmp_path: Path) -> None:
    (tmp_path / "restoring-20260101T000000Z" / "blobs").mkdir(parents=True)
    DataDirectory(tmp_path).open().close()
    assert [path.name for path in tmp_path.iterdir()] == ["lock"]


async def test_settings_changed_at_run_time_come_with_it_and_are_told(tmp_path: Path) -> None:
    """The index is built in the language that was chosen then."""
    made, place = tmp_path / "made", tmp_path / "place"
    async with open_app(made) as app:
        await app.client.patch("/api/v1/settings", json={"search.language": "German"})
    async with open_app(made) as app:
        await app.ingest(("houses.txt", "Am Ufer standen kleine Häuser. ".encode() * 5))
        file = await make_backup(app)
    place.mkdir()
    restored = await put_back(place, file)
    assert restored.changed_settings == ["search.language"]
    async with open_app(place) as app:
        assert await app.names_found("Haus", mode="sparse") == ["houses.txt"]
