"""The doctor finds every kind of damage, mends what is derived, and calls nothing sick that is well."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import lancedb
import pytest

from perplex_mono.doctor.index import open_mended
from perplex_mono.doctor.schemas import Report
from perplex_mono.doctor.service import open_doctor
from perplex_mono.errors import Conflict, InvalidInput
from perplex_mono.settings import Settings
from perplex_mono.storage.database import Database
from tests.app_client import App, open_app, settings_for

WORDS = ("heron", "plover", "godwit")


async def fill(directory: Path) -> Settings:
    """A library of three texts, left in good order."""
    async with open_app(directory) as app:
        await app.ingest(*((f"{word}.txt", f"The {word} waded here. ".encode() * 30) for word in WORDS))
    return settings_for(directory)


async def examine(settings: Settings) -> Report:
    async with open_doctor(settings) as doctor:
        return await doctor.examine(lambda _: None)


async def repair(settings: Settings) -> Report:
    async with open_doctor(settings) as doctor:
        return await doctor.repair(lambda _: None)


def sql(settings: Settings, statement: str, *values: Any) -> list[Any]:
    with closing(sqlite3.connect(settings.data_directory / "perplex.db")) as database, database:
        return database.execute(statement, values).fetchall()


async def require_all_found(app: App) -> None:
    for word in WORDS:
        assert set(await app.names_found(word, mode="sparse")) == {f"{word}.txt"}


async def wait_until_ready(app: App) -> None:
    items = (await app.client.get("/api/v1/operations", params={"kind": "ingest"})).json()["items"]
    for operation in items:
        await app.settle(operation["id"])
    documents = (await app.client.get("/api/v1/collections/default/documents")).json()["items"]
    assert [document["status"] for document in documents] == ["ready"] * len(WORDS)


async def test_the_index_is_rebuilt_in_the_language_that_was_changed_at_run_time(tmp_path: Path) -> None:
    async with open_app(tmp_path) as app:
        await app.client.patch("/api/v1/settings", json={"search.language": "German"})
    async with open_app(tmp_path) as app:
        await app.ingest(("houses.txt", "Am Ufer standen kleine Häuser. ".encode() * 5))
        assert await app.names_found("Haus", mode="sparse") == ["houses.txt"]
    settings = settings_for(tmp_path)
    lose_index(settings.data_directory)
    assert (await repair(settings)).healthy
    async with open_app(tmp_path) as app:
        assert await app.names_found("Haus", mode="sparse") == ["houses.txt"]


def lose_index(data: Path) -> None:
    shutil.rmtree(data / "vectors")


def empty_data_files(data: Path) -> None:
    for file in (data / "vectors").rglob("*.lance"):
        if file.is_file():
            file.write_bytes(b"")


def truncate_manifests(data: Path) -> None:
    for file in (data / "vectors").rglob("*.manifest"):
        file.write_bytes(file.read_bytes()[:10])


async def test_a_sound_library_is_found_sound(tmp_path: Path) -> None:
    report = await examine(await fill(tmp_path))
    assert report == Report(True, report.checks, [])
    assert len(report.checks) >= 9


async def test_a_lost_text_index_is_told_and_made_again(tmp_path: Path) -> None:
    settings = await fill(tmp_path)
    connection = await lancedb.connect_async(settings.data_directory / "vectors")
    for name in (await connection.list_tables()).tables:
        await (await connection.open_table(name)).drop_index("text_idx")

    [finding] = (await examine(settings)).findings
    assert "missing index text_idx" in finding.problem
    assert (await examine(settings)).healthy
    async with open_app(tmp_path) as app:
        await require_all_found(app)


@pytest.mark.parametrize("harm", [lose_index, empty_data_files, truncate_manifests])
async def test_a_broken_index_is_rebuilt_without_a_model(tmp_path: Path, harm: Callable[[Path], None]) -> None:
    settings = await fill(tmp_path)
    harm(settings.data_directory)
    report = await examine(settings)
    assert not report.healthy
    assert {finding.check for finding in report.findings} == {"index"}
    repaired = await repair(settings)
    assert repaired.healthy
    assert any("rebuilt" in (finding.outcome or "") for finding in repaired.findings)
    async with open_app(tmp_path) as app:
        await require_all_found(app)
        assert app.embedder.calls == []


def truncate_newest_manifest(data: Path) -> None:
    """Lance numbers manifests downwards."""
    newest = min((data / "vectors").rglob("*.manifest"), key=lambda path: int(path.stem))
    newest.write_bytes(b"")


@pytest.mark.parametrize("harm", [lose_index, empty_data_files, truncate_manifests, truncate_newest_manifest])
async def test_a_server_mends_its_index_before_anybody_searches_it(
    tmp_path: Path, harm: Callable[[Path], None]
) -> None:
    settings = await fill(tmp_path)
    harm(settings.data_directory)
    async with open_app(tmp_path) as app:
        await app.container.vectors.wait()
        await require_all_found(app)
        assert app.embedder.calls == []
        components = (await app.client.get("/ready")).json()["components"]
        assert components["vectors"]["status"] == "ok"
    assert (await examine(settings)).healthy


async def test_who_waits_for_a_damaged_index_is_told_what_is_done_about_it(tmp_path: Path) -> None:
    settings = await fill(tmp_path)
    lose_index(settings.data_directory)
    told: list[str] = []
    database = Database(settings.data_directory / "perplex.db")
    vectors = await open_mended(settings.data_directory / "vectors", database, fts_language="English", tell=told.append)
    await vectors.close()
    await database.close()
    comparing, mending = told
    assert "is damaged" in comparing
    assert mending.startswith("mending the search index")
    assert mending.endswith("1 of 1")


async def test_documents_missing_from_the_index_are_put_back_and_strangers_removed(tmp_path: Path) -> None:
    settings = await fill(tmp_path)
    async with open_app(tmp_path) as app:
        vectors = await app.container.vectors.wait()
        ((gone, _), (stranger, _), _) = sorted((await app.vector_ids()).items())
        (table,) = vectors.table_names()
        await vectors.delete_documents(table, [gone])
    sql(settings, "UPDATE documents SET status = 'failed', failure_code = 'internal' WHERE id = ?", stranger)
    report = await repair(settings)
    assert report.healthy
    outcomes = {finding.subject: finding.outcome or "" for finding in report.findings}
    assert "put back" in outcomes[f"document {gone}"]
    assert "removed from the index" in outcomes[f"document {stranger}"]
    async with open_app(tmp_path) as app:
        assert sorted(await app.vector_ids()) == sorted({gone, *(await app.vector_ids())} - {stranger})


async def test_originals_are_read_to_the_last_byte(tmp_path: Path) -> None:
    settings = await fill(tmp_path)
    blobs = settings.data_directory / "blobs"
    hashes = dict(sql(settings, "SELECT name, sha256 FROM documents"))
    (blobs / hashes["heron.txt"]).unlink()
    damaged = bytearray((blobs / hashes["plover.txt"]).read_bytes())
    damaged[-1] ^= 1
    (blobs / hashes["plover.txt"]).write_bytes(damaged)
    (blobs / ("0" * 64)).write_bytes(b"nobody's")
    (blobs / "notes.txt").write_text("not an original")
    report = await repair(settings)
    assert not report.healthy
    problems = {finding.subject: finding for finding in report.findings}
    assert "missing" in problems["'heron.txt'"].problem
    assert "damaged" in problems["'plover.txt'"].problem
    assert not problems["'heron.txt'"].repairable
    assert "person" in (problems["'heron.txt'"].outcome or "")
    assert (blobs / "orphaned" / hashes["plover.txt"]).read_bytes() == damaged
    assert not (blobs / ("0" * 64)).exists()
    assert (blobs / "orphaned" / ("0" * 64)).read_bytes() == b"nobody's"
    assert (blobs / "notes.txt").exists()
    async with open_app(tmp_path) as app:
        for word in ("heron", "plover"):
            answer = await app.upload(("again.txt", f"The {word} waded here. ".encode() * 30))
            assert answer["documents"][0]["duplicate_of"] is not None
    assert (await examine(settings)).healthy


@pytest.mark.parametrize(
    ("harm", "check"),
    [
        ("DELETE FROM chunks WHERE document_id = (SELECT id FROM documents WHERE name = 'heron.txt')", "chunks"),
        ("DELETE FROM embeddings WHERE input_hash = (SELECT min(input_hash) FROM chunks)", "chunks"),
        ("UPDATE pages SET payload = x'00' WHERE sha256 = (SELECT sha256 FROM documents LIMIT 1)", "pages"),
        ("UPDATE documents SET status = 'processing' WHERE name = 'heron.txt'", "operations"),
    ],
)
async def test_what_is_missing_is_made_again_at_the_next_start(tmp_path: Path, harm: str, check: str) -> None:
    settings = await fill(tmp_path)
    sql(settings, harm)
    found = await examine(settings)
    assert check in {finding.check for finding in found.findings}
    assert (await examine(settings)).findings == found.findings, "looking changes nothing"
    assert (await repair(settings)).healthy
    async with open_app(tmp_path) as app:
        await wait_until_ready(app)
        await require_all_found(app)
    assert (await examine(settings)).healthy


async def test_a_deletion_that_nobody_does_is_done(tmp_path: Path) -> None:
    settings = await fill(tmp_path)
    sql(settings, "UPDATE documents SET status = 'deleting' WHERE name = 'heron.txt'")
    report = await repair(settings)
    assert any("no operation will remove it" in finding.problem for finding in report.findings)
    async with open_app(tmp_path) as app:
        items = (await app.client.get("/api/v1/operations", params={"kind": "delete"})).json()["items"]
        assert [(await app.settle(operation["id"]))["state"] for operation in items] == ["completed"]
    assert sql(settings, "SELECT count(*) FROM documents WHERE name = 'heron.txt'") == [(0,)]
    assert (await examine(settings)).healthy


async def test_a_damaged_database_is_named_not_a_crash(tmp_path: Path) -> None:
    settings = await fill(tmp_path)
    file = settings.data_directory / "perplex.db"
    content = bytearray(file.read_bytes())
    content[4096 * 3 : 4096 * 12] = b"\xff" * (4096 * 9)
    file.write_bytes(content)
    report = await repair(settings)
    assert not report.healthy
    assert {finding.check for finding in report.findings} == {"database"}


async def test_a_lease_that_belongs_to_nothing_is_taken_back(tmp_path: Path) -> None:
    settings = await fill(tmp_path)
    async with open_app(tmp_path) as app:
        await app.ingest(("avocet.txt", b"The avocet waded here too."))
    ((ended,), (running,)) = sql(settings, "SELECT id FROM operations ORDER BY id")
    sql(settings, "UPDATE operations SET lease_until = '2026-01-01 00:00:00.000000' WHERE id = ?", ended)
    sql(settings, "UPDATE operations SET state = 'running', lease_until = NULL WHERE id = ?", running)
    findings = (await examine(settings)).findings
    assert {finding.problem for finding in findings} == {
        "it is completed, but has a lease",
        "it is running, but has no lease",
    }
    repaired = await repair(settings)
    assert repaired.healthy
    assert sql(settings, "SELECT state FROM operations WHERE id = ?", running) == [("queued",)]


async def test_an_interrupted_ingest_is_no_damage(tmp_path: Path) -> None:
    """What a crash leaves behind between two steps is what the next start goes on from."""
    async with open_app(tmp_path) as app:
        app.embedder.turnstile.close()
        await app.upload(("heron.txt", b"The heron waded here. " * 30))
        await app.embedder.turnstile.reached.wait()
    report = await examine(settings_for(tmp_path))
    assert report.healthy, report.findings


async def test_an_attachment_deleted_alone_and_a_dropped_index_are_deletions_too(tmp_path: Path) -> None:
    settings = await fill(tmp_path)
    async with open_app(tmp_path) as app:
        await app.settle((await app.reindex())["operation_id"])
    (heron,) = sql(settings, "SELECT id FROM documents WHERE name = 'heron.txt'")[0]
    sql(settings, "UPDATE documents SET parent_id = ?, depth = 1, status = 'deleting' WHERE name = 'plover.txt'", heron)
    sql(settings, "UPDATE indexes SET state = 'deleting' WHERE state = 'retired'")
    report = await repair(settings)
    assert {finding.problem for finding in report.findings} == {"it was deleted, but no operation will remove it"}
    assert [finding.subject.split()[0] for finding in report.findings] == ["document", "index"]
    async with open_app(tmp_path) as app:
        for operation in (await app.client.get("/api/v1/operations", params={"kind": "delete"})).json()["items"]:
            await app.settle(operation["id"])
        assert len(await app.indexes()) == 1
    assert sql(settings, "SELECT name FROM documents ORDER BY name") == [("godwit.txt",), ("heron.txt",)]
    assert sql(settings, "SELECT count(*) FROM indexes") == [(1,)]
    assert (await examine(settings)).findings == []


async def test_pages_that_went_missing_are_read_again(tmp_path: Path) -> None:
    settings = await fill(tmp_path)
    sql(settings, "DELETE FROM pages WHERE sha256 = (SELECT sha256 FROM documents WHERE name = 'heron.txt')")
    report = await repair(settings)
    assert [finding.problem for finding in report.findings] == ["0 of its 1 pages are stored"]
    async with open_app(tmp_path) as app:
        await wait_until_ready(app)
        await require_all_found(app)
    assert (await examine(settings)).findings == []


async def test_a_deletion_that_waits_for_the_next_start_is_no_damage(tmp_path: Path) -> None:
    settings = await fill(tmp_path)
    sql(settings, "UPDATE documents SET status = 'deleting' WHERE name = 'heron.txt'")
    await repair(settings)
    assert (await examine(settings)).healthy


async def test_it_works_only_on_a_library_at_rest(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="There is no library"):
        await examine(settings_for(tmp_path))
    async with open_app(tmp_path) as app:
        with pytest.raises(Conflict, match="in use"):
            await examine(app.container.settings)


async def test_the_command_says_what_is_wrong_and_ends_with_one(tmp_path: Path) -> None:
    settings = await fill(tmp_path)

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "PERPLEX_DATA__DIRECTORY": str(settings.data_directory)}
        command = [sys.executable, "-m", "perplex_mono", "doctor", *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)

    well = run()
    assert (well.returncode, "nothing is wrong." in well.stdout) == (0, True), well.stderr
    lose_index(settings.data_directory)
    sick = run()
    assert sick.returncode == 1
    assert "it is missing" in sick.stdout
    assert "Searches miss passages" in sick.stdout
    assert "--repair` mends 1" in sick.stdout
    report = json.loads(run("--repair", "--json").stdout)
    assert report["healthy"]
    assert report["findings"][0]["outcome"].startswith("rebuilt")
    assert run().returncode == 0
