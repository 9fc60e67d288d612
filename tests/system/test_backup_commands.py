"""Backup and restore as an operator does them: by the documentation, and while the library is in full use."""

import json
import shlex
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.console_blocks import ShownCommand, shown_commands
from tests.server_process import ServerProcess, free_port
from tests.system.test_command_line import CommandLine

ROOT = Path(__file__).parents[2]
WORDS = ("heron", "plover", "godwit", "curlew", "dunlin", "whimbrel")


def documented() -> list[ShownCommand]:
    """The commands of the page."""
    return shown_commands((ROOT / "docs" / "backup.md").read_text(encoding="utf-8"))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    process = ServerProcess(tmp_path, {"PERPLEX_QUEUE__EMBEDDED_REDIS": "false"})
    process.start()
    yield process
    process.stop()


def commands_for(server: ServerProcess, directory: Path) -> CommandLine:
    return CommandLine(directory, server.data, server.port)


def upload(server: ServerProcess, *words: str) -> str:
    """A text for each word; the operation's id."""
    files = [(f"{word}.txt", f"The {word} waded here. ".encode() * 30) for word in words]
    return str(server.upload(*files)["operation_id"])


def require_found_once(server: ServerProcess, *words: str) -> None:
    server.wait_ready()
    documents = server.documents()
    for word in words:
        [document] = [document for document in documents if document["name"] == f"{word}.txt"]
        assert document["status"] == "ready"
        assert {hit["document"]["id"] for hit in server.search(word, mode="sparse")["hits"]} == {document["id"]}


def test_the_commands_of_the_documentation_do_what_it_says(server: ServerProcess, tmp_path: Path) -> None:
    server.wait_operation(upload(server, *WORDS[:2]))
    commands = commands_for(server, tmp_path)
    ran = []
    for command, shown in documented():
        words = shlex.split(command.removeprefix("perplex-mono "))
        if words[0] == "restore" and "--check" not in words:
            assert server.stop() == 0
        done = commands.run(*words)
        assert done.returncode == 0, (command, done.stderr)
        for line in shown:
            for part in filter(None, line.split("...")):
                assert part in done.stdout, (command, part, done.stdout)
        ran.append(words[0])
    assert ran == ["backup", "restore", "restore"]
    assert (tmp_path / "library.tar").stat().st_mode & 0o777 == 0o600
    server.start()
    require_found_once(server, *WORDS[:2])
    listed = subprocess.run(["tar", "--list", "--file", "library.tar"], cwd=tmp_path, capture_output=True, text=True)
    assert listed.stdout.splitlines()[:2] == ["manifest.json", "perplex.db"]


def test_what_was_acknowledged_before_a_backup_in_full_use_is_restored_once(
    server: ServerProcess, tmp_path: Path
) -> None:
    """The last of it is not read yet when the backup begins, and more comes, is searched and deleted meanwhile."""
    server.wait_operation(upload(server, *WORDS[:3]))
    upload(server, *WORDS[3:])
    stop = threading.Event()
    failures: list[AssertionError] = []

    def use() -> None:
        number = 0
        while not stop.is_set():
            try:
                upload(server, f"later{number}")
                server.search("heron", mode="sparse")
            except AssertionError as failure:
                failures.append(failure)
            number += 1
            stop.wait(0.1)

    user = threading.Thread(target=use)
    user.start()
    try:
        saved = commands_for(server, tmp_path).json("backup", str(tmp_path))
    finally:
        stop.set()
        user.join()
    assert failures == []
    assert saved["backup"]["counts"]["documents"] >= len(WORDS)
    assert list((server.data / "backups").iterdir()) == []
    assert server.stop() == 0

    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    other = ServerProcess(elsewhere, {"PERPLEX_QUEUE__EMBEDDED_REDIS": "false"})
    restored = CommandLine(tmp_path, other.data, other.port).json("restore", saved["path"])
    assert restored["data_directory"] == str(other.data)
    assert restored["kept_aside"] is None
    other.start()
    try:
        for operation in operation_ids(other):
            assert other.wait_operation(operation)["state"] == "completed"
        require_found_once(other, *WORDS)
    finally:
        other.stop()
    assert other.examine()["healthy"]


def operation_ids(server: ServerProcess) -> list[str]:
    return [item["id"] for item in httpx.get(f"{server.url}/api/v1/operations?limit=200", timeout=60).json()["items"]]


def test_without_a_server_and_over_files_that_exist(tmp_path: Path) -> None:
    texts = tmp_path / "texts"
    texts.mkdir()
    (texts / "heron.txt").write_text("The heron waded here. " * 30)
    commands = CommandLine(tmp_path, tmp_path / "data", free_port())
    assert commands.run("ingest", str(texts)).returncode == 0
    saved = commands.json("backup", "library.tar")
    assert saved["backup"]["counts"]["documents"] == 1
    for arguments, said in (
        (("backup", "library.tar"), "exists already"),
        (("backup", "missing/library.tar"), "no folder"),
        (("restore", "library.tar", "--json"), "--yes"),
        (("restore", "texts/heron.txt", "--yes"), "no backup"),
    ):
        refused = commands.run(*arguments)
        assert refused.returncode != 0
        assert said in refused.stderr, (arguments, refused.stderr)
    assert json.loads(commands.run("restore", "--check", "library.tar", "--json").stdout)["kept_aside"] is None
    assert commands.run("restore", "library.tar", "--yes").returncode == 0
    assert "heron.txt" in commands.run("search", "heron", "--mode", "sparse").stdout


def test_the_servers_own_folder_is_not_where_it_is_put(server: ServerProcess, tmp_path: Path) -> None:
    """The file there has the name that the copy would get, and goes once it was fetched."""
    server.wait_operation(upload(server, *WORDS[:1]))
    folder = server.data / "backups"
    folder.mkdir(exist_ok=True)
    refused = commands_for(server, tmp_path).run("backup", str(folder))
    assert refused.returncode == 2, refused.stderr
    assert "exists already" in refused.stderr
    (kept,) = folder.glob("*.tar")
    assert commands_for(server, tmp_path).run("restore", "--check", str(kept)).returncode == 0
