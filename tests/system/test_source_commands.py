"""`perplex-mono sources` as a user types it, through a server and without one."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.server_process import ServerProcess, free_port
from tests.system.test_command_line import CommandLine

LAMP = "The lamp of the lighthouse is lit at dusk. "


@pytest.fixture(params=["server", "directory"])
def command(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[CommandLine]:
    """The command line, with a server on its data directory or with none."""
    process = ServerProcess(tmp_path, {"PERPLEX_SOURCES__ROOTS": str(tmp_path)})
    if request.param == "server":
        process.start()
    try:
        port = process.port if request.param == "server" else free_port()
        yield CommandLine(tmp_path, tmp_path / "data", port)
    finally:
        if request.param == "server":
            process.stop()


def test_a_folder_is_followed_scanned_and_removed(command: CommandLine, tmp_path: Path) -> None:
    roots = {"PERPLEX_SOURCES__ROOTS": str(tmp_path)}
    folder = tmp_path / "papers"
    folder.mkdir()
    (folder / "lamp.txt").write_text(LAMP * 9)
    (folder / "note.md").write_text("# Notes\n\n" + "Nothing of interest. " * 9)
    refused = command.run("sources", "add", "/etc", **roots)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "/etc" in refused.stderr
    assert "sources.roots" in refused.stderr
    missing = command.run("sources", "add", "nowhere", **roots)
    assert (missing.returncode, missing.stdout) == (1, "")
    assert "it does not exist" in missing.stderr
    malformed = command.run("sources", "add", "papers", "--include", "/abs/*", **roots)
    assert (malformed.returncode, malformed.stdout) == (2, "")
    assert "'/abs/*'" in malformed.stderr
    assert "relative to the folder" in malformed.stderr
    added = command.run("sources", "add", "papers", "--include", "*.txt", "--no-watch", **roots)
    assert added.returncode == 0, added.stderr
    assert "ready   lamp.txt" in added.stdout
    assert "scan completed: 1 of 1 files" in added.stdout
    hits = json.loads(command.run("search", "lighthouse", "--json").stdout)["hits"]
    assert {hit["document"]["name"] for hit in hits} == {"lamp.txt"}
    (folder / "lamp.txt").write_text("The bell of the buoy rings in the fog. " * 9)
    scanned = command.run("sources", "scan", "papers", "--json", **roots)
    events = [json.loads(line) for line in scanned.stdout.splitlines()]
    assert scanned.returncode == 0
    completed = [event["data"] for event in events if event["type"] == "completed"]
    assert [data.get("files_changed") for data in completed] == [1, None]
    listed = json.loads(command.run("sources", "list", "--json").stdout)["items"]
    assert [(item["directory"], item["file_count"]) for item in listed] == [(str(folder.resolve()), 1)]
    assert str(folder.resolve()) in command.run("sources", "list").stdout
    removed = command.run("sources", "remove", listed[0]["id"])
    assert removed.returncode == 0, removed.stderr
    assert json.loads(command.run("search", "fog", "--json").stdout)["hits"] == []
    assert (folder / "lamp.txt").exists()
    assert "No folder" in command.run("sources", "list").stdout
