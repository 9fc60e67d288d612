"""The command line as a user types it: against a real server, and without one on the data directory itself."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.documents import scanned_pdf, text_pdf
from tests.server_process import ServerProcess, free_port

COMMAND_SECONDS = 300
ROSES = "# Garden\n\n## Roses\n\nRoses are pruned in March, before the buds open. Use sharp shears.\n"
LAMP = "The lamp is lit at dusk. The lens of the lighthouse was ground in Paris in 1871."


class CommandLine:
    """`perplex-mono` with one data directory and port."""

    def __init__(self, directory: Path, data: Path, port: int) -> None:
        self.directory = directory
        self._environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith("PERPLEX_")},
            "PERPLEX_DATA__DIRECTORY": str(data),
            "PERPLEX_SERVER__PORT": str(port),
            "PERPLEX_LIMITS__DISK_RESERVE_BYTES": "1000000",
            "PERPLEX_LIMITS__DISK_RESERVE_FRACTION": "0.0",
        }

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        """Begin a command."""
        return subprocess.Popen(
            [sys.executable, "-m", "perplex_mono", *arguments],
            cwd=self.directory,
            env={**self._environment, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # A suite that runs in the background of a shell has SIGINT ignored, and children would inherit that.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
        )

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        process = self.start(*arguments, **environment)
        try:
            out, err = process.communicate(timeout=COMMAND_SECONDS)
        finally:
            process.kill()
        assert "Traceback" not in err, err
        return subprocess.CompletedProcess(arguments, process.returncode, out, err)

    def json(self, *arguments: str) -> Any:
        """What a successful command prints with `--json`, which must be one document and nothing else."""
        done = self.run(*arguments, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """One server for the tests of this file, with a few documents in it."""
    process = ServerProcess(tmp_path_factory.mktemp("server"))
    process.start()
    try:
        process.wait_ready()
        yield process
    finally:
        process.stop()


@pytest.fixture(scope="module")
def commands(server: ServerProcess, tmp_path_factory: pytest.TempPathFactory) -> CommandLine:
    return CommandLine(tmp_path_factory.mktemp("work"), server.data, server.port)


@pytest.fixture(scope="module")
def library(commands: CommandLine) -> subprocess.CompletedProcess[str]:
    """The ingest that fills the library: good files, a duplicate, an empty one, one with a hostile name."""
    folder = commands.directory / "documents"
    (folder / "sub").mkdir(parents=True)
    (folder / "garden.md").write_text(ROSES)
    (folder / "twin.md").write_text(ROSES)
    (folder / "sub" / "empty.txt").write_text("")
    (folder / "sub" / "\x1b]0;owned\x07[red].txt").write_text("The quartermaster counted barrels of herring.")
    (folder / ".hidden.txt").write_text("hidden")
    text_pdf(folder / "lighthouse.pdf", ["The keeper wrote down the weather every evening.", LAMP])
    return commands.run("ingest", "documents", "--tag", "harbour")


def test_ingest_reports_every_file(library: subprocess.CompletedProcess[str]) -> None:
    assert library.returncode == 1
    lines = {line.split()[0]: line for line in library.stdout.splitlines()}
    assert "ready" in lines["lighthouse.pdf"]
    assert lines["lighthouse.pdf"].split()[2] == "2"
    assert "duplicate" in lines["twin.md"]
    assert "same content as garden.md" in lines["twin.md"]
    assert "no_text" in lines["empty.txt"]
    assert "3 ready, 1 duplicate, 1 failed, 1 hidden or links passed over" in library.stdout
    assert library.stderr == ""
    assert "\x1b" not in library.stdout


def test_what_is_there_already_is_not_ingested_again(
    commands: CommandLine, library: subprocess.CompletedProcess[str], server: ServerProcess
) -> None:
    before = len(server.documents())
    again = commands.json("ingest", "documents/garden.md", "documents/lighthouse.pdf")
    assert len(server.documents()) == before
    assert [answer["operation_id"] for answer in again["uploads"]] == [None]
    assert again["operations"] == again["skipped"] == []
    assert {document["status"] for document in again["documents"]} == {"ready"}
    assert {tuple(document["tags"]) for document in again["documents"]} == {("harbour",)}


def test_search_prints_document_page_and_passage(
    commands: CommandLine, library: subprocess.CompletedProcess[str]
) -> None:
    done = commands.run("search", "where was the lens ground", "--limit", "2")
    assert done.returncode == 0
    assert done.stderr == ""
    first, passage = done.stdout.splitlines()[:2]
    assert first.startswith(" 1. lighthouse.pdf, page 2")
    assert "ground in Paris" in passage
    assert "garden.md, section 1  Garden" in commands.run("search", "pruning roses", "-n", "1").stdout


def test_search_json_is_the_answer_of_the_api(
    commands: CommandLine, library: subprocess.CompletedProcess[str], server: ServerProcess
) -> None:
    printed = commands.json("search", "barrels of herring", "--limit", "3", "--explain", "--mode", "sparse")
    answered = server.search("barrels of herring", limit=3, explain=True, mode="sparse")
    assert printed.pop("timings_ms").keys() == answered.pop("timings_ms").keys()
    assert printed == answered
    assert len(printed["hits"]) == 1


def test_ask_prints_the_answer_and_its_citations(
    commands: CommandLine, library: subprocess.CompletedProcess[str]
) -> None:
    done = commands.run("ask", "When are roses pruned?")
    assert done.returncode == 0
    assert done.stdout.startswith("Roses are pruned in March, before the buds open. [1]\n")
    assert "[1] garden.md, section 1\n    “Roses are pruned in March, before the buds open.”\n" in done.stdout
    answer = commands.json("ask", "Where was the lens ground?")
    assert [citation["document_name"] for citation in answer["citations"]] == ["lighthouse.pdf"]


def test_nothing_found_is_said(commands: CommandLine, library: subprocess.CompletedProcess[str]) -> None:
    done = commands.run("search", "zzqqxx", "--mode", "sparse")
    assert (done.returncode, done.stdout) == (0, "Nothing found.\n")


def test_operations_are_listed_and_followed(
    commands: CommandLine, library: subprocess.CompletedProcess[str], server: ServerProcess
) -> None:
    operation = commands.json("operations", "--state", "completed")["items"][-1]
    assert operation["id"] in commands.run("operations").stdout
    shown = commands.run("operations", "--follow", operation["id"])
    assert shown.returncode == 1, "one of its documents failed"
    assert "failed  empty.txt: no_text" in shown.stdout
    assert "ingest completed" in shown.stdout
    refused = commands.run("operations", "--pause", operation["id"])
    assert refused.returncode == 1
    assert "is completed and cannot be paused" in refused.stderr
    lines = commands.run("operations", "--follow", operation["id"], "--json").stdout.splitlines()
    events = httpx.get(f"{server.url}/api/v1/operations/{operation['id']}/events", timeout=10).json()["items"]
    assert [json.loads(line) for line in lines] == events
    assert events[-1]["type"] == "completed"


def test_long_work_is_held_let_go_ended_and_taken_up_again(
    commands: CommandLine, library: subprocess.CompletedProcess[str], server: ServerProcess
) -> None:
    url = f"{server.url}/api/v1"
    long = " ".join(f"Sentence {n} tells of the harbour." for n in range(60_000))
    made = httpx.post(f"{url}/collections", json={"name": "steered"}, timeout=30).json()
    files = [("files", ("long.txt", long.encode()))]
    accepted = httpx.post(f"{url}/collections/{made['id']}/documents", files=files, timeout=60).json()
    operation, (document,) = accepted["operation_id"], accepted["documents"]

    def state(*arguments: str) -> str:
        steered: dict[str, str] = commands.json("operations", *arguments)
        return steered["state"]

    assert state("--pause", operation) == "paused"
    assert state("--resume", operation) in ("queued", "running")
    assert state("--cancel", operation) == "cancelled"
    assert state("--retry", operation) in ("queued", "running")
    assert state("--cancel", operation) == "cancelled"
    again = commands.json("operations", "--retry-document", document["id"])
    assert again["id"] != operation
    assert state("--cancel", again["id"]) == "cancelled"
    refused = commands.run("operations", "--retry", operation, "--retry-document", document["id"])
    assert refused.returncode == 2
    assert "cannot be combined" in refused.stderr
    unknown = commands.run("operations", "--retry-document", "no-such-document")
    assert unknown.returncode == 1
    assert "no-such-document" in unknown.stderr
    assert httpx.delete(f"{url}/collections/{made['id']}", timeout=30).status_code == 202


def test_a_collection_is_indexed_anew_and_back(
    commands: CommandLine, library: subprocess.CompletedProcess[str], server: ServerProcess
) -> None:
    collection = httpx.post(f"{server.url}/api/v1/collections", json={"name": "anew"}, timeout=30).json()
    server.wait_operation(server.upload(("roses.md", ROSES.encode()), collection=collection["id"])["operation_id"])
    done = commands.run("reindex", "-c", "anew", "--strategy", "fixed", "--max-tokens", "16", "--overlap-tokens", "0")
    assert done.returncode == 0, done.stderr
    assert "reindex completed: 1 of 1 pages" in done.stdout
    old, new = commands.json("reindex", "-c", "anew", "--list")["items"]
    assert (old["state"], new["state"], new["chunking"]["max_tokens"]) == ("retired", "active", 16)
    assert f"Active: {new['id']}" in done.stdout
    assert f"-c anew --activate {old['id']}" in done.stdout
    assert new["chunk_count"] > old["chunk_count"]
    shown = commands.run("reindex", "-c", "anew", "--list").stdout
    assert "fixed 16/0" in shown
    assert old["id"] in shown
    back = commands.run("reindex", "-c", "anew", "--activate", old["id"])
    assert back.returncode == 0, back.stderr
    assert old["id"] in back.stdout
    assert [index["state"] for index in commands.json("reindex", "-c", "anew", "--list")["items"]] == [
        "active",
        "retired",
    ]
    refused = commands.run("reindex", "-c", "anew", "--max-tokens", "5000")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "needs a value from 16 to" in refused.stderr


def test_collections_go_by_name_or_id(
    commands: CommandLine, library: subprocess.CompletedProcess[str], server: ServerProcess
) -> None:
    made = httpx.post(f"{server.url}/api/v1/collections", json={"name": "Board minutes"}, timeout=10).json()
    (commands.directory / "minutes.txt").write_text("The board agreed to paint the lighthouse white.")
    assert commands.run("ingest", "minutes.txt", "--collection", "Board minutes").returncode == 0
    for key in ("Board minutes", made["id"]):
        hits = commands.json("search", "lighthouse", "-c", key)["hits"]
        assert [hit["document"]["name"] for hit in hits] == ["minutes.txt"]
    both = commands.json("search", "lighthouse", "-c", "Board minutes", "-c", "default")["hits"]
    assert {hit["document"]["name"] for hit in both} >= {"minutes.txt", "lighthouse.pdf"}
    missing = commands.run("search", "x", "-c", "nowhere")
    assert (missing.returncode, missing.stdout) == (2, "")
    assert missing.stderr == "error: There is no collection 'nowhere'. There are: 'default', 'anew', 'Board minutes'.\n"


def test_many_files_go_in_several_requests(commands: CommandLine, server: ServerProcess) -> None:
    folder = commands.directory / "many"
    folder.mkdir()
    for number in range(7):
        (folder / f"{number}.txt").write_text(f"Note {number} of the harbour master.")
    done = commands.run("ingest", "many", "--json", PERPLEX_LIMITS__MAX_FILES_PER_REQUEST="3")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert [len(answer["documents"]) for answer in found["uploads"]] == [3, 3, 1]
    assert [operation["state"] for operation in found["operations"]] == ["completed"] * 3
    assert sorted(document["name"] for document in found["documents"]) == [f"{n}.txt" for n in range(7)]


def test_interrupted_the_server_goes_on(commands: CommandLine, server: ServerProcess) -> None:
    scanned_pdf(commands.directory / "scan.pdf", [f"Scanned page {number}\nof the harbour log" for number in range(3)])
    process = commands.start("ingest", "scan.pdf", PYTHONUNBUFFERED="1")
    try:
        deadline = time.monotonic() + 60
        while not any(item["name"] == "scan.pdf" for item in server.documents()) and time.monotonic() < deadline:
            time.sleep(0.05)
        while "active_websocket_connections 1.0" not in httpx.get(f"{server.url}/metrics", timeout=60).text:
            assert time.monotonic() < deadline
            time.sleep(0.05)  # until it follows, which it does once it has the answer to the upload
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert (process.returncode, out) == (130, "")
    assert "1 of 1 files were handed over and are kept.\nThe server goes on" in err
    operation_id = err.strip().split()[-1]
    _follow_through_a_crash(commands, server, operation_id)


def _follow_through_a_crash(commands: CommandLine, server: ServerProcess, operation_id: str) -> None:
    """Whoever follows when the server is killed sees the rest after its restart, each event once."""
    process = commands.start("operations", "--follow", operation_id, "--json", PYTHONUNBUFFERED="1")
    try:
        assert process.stdout is not None
        first = process.stdout.readline()
        server.kill()
        server.start()
        rest, err = process.communicate(timeout=COMMAND_SECONDS)
    finally:
        process.kill()
    assert process.returncode == 0, err
    events = [json.loads(line) for line in [first, *rest.splitlines()]]
    numbers = [event["seq"] for event in events]
    assert numbers == sorted(set(numbers))
    assert sorted(page for event in events if event["type"] == "page_done" for page in event["data"]["pages"]) == [
        1,
        2,
        3,
    ]
    assert events[-1]["type"] == "completed"


def test_without_waiting_the_work_goes_on_behind(commands: CommandLine, server: ServerProcess) -> None:
    (commands.directory / "later.txt").write_text("This is read when there is time.")
    done = commands.run("ingest", "later.txt", "--no-wait")
    assert done.returncode == 0
    operation_id = done.stdout.strip().split()[-1]
    assert server.wait_operation(operation_id)["state"] == "completed"


def test_openapi_is_what_the_server_serves(commands: CommandLine, server: ServerProcess) -> None:
    printed = json.loads(commands.run("openapi").stdout)
    assert printed == httpx.get(f"{server.url}/schema/openapi.json", timeout=30).json()


def test_a_second_server_says_in_a_line_why_it_cannot_start(commands: CommandLine, server: ServerProcess) -> None:
    same_port = commands.run("serve")
    assert same_port.returncode == 2
    assert same_port.stderr.splitlines()[-1].startswith(f"error: Nothing can listen on 127.0.0.1:{server.port}")


def test_a_locked_data_directory_is_a_clear_error(commands: CommandLine, server: ServerProcess) -> None:
    done = commands.run("search", "x", PERPLEX_SERVER__PORT=str(free_port()))
    assert (done.returncode, done.stdout) == (1, "")
    assert f"is in use by another process (pid {server.pid})" in done.stderr


def test_the_server_option_names_a_server(commands: CommandLine, server: ServerProcess) -> None:
    elsewhere = {"PERPLEX_SERVER__PORT": str(free_port())}
    assert commands.run("operations", "--server", f"{server.url}/", **elsewhere).returncode == 0


def test_without_a_server_the_data_directory_is_used(tmp_path: Path) -> None:
    commands = CommandLine(tmp_path, tmp_path / "data", free_port())
    (tmp_path / "garden.md").write_text(ROSES)
    (tmp_path / "empty.txt").write_text("")
    ingested = commands.run("ingest", "garden.md", "empty.txt")
    assert ingested.returncode == 1, ingested.stderr
    assert "1 ready, 1 failed" in ingested.stdout
    done = commands.run("ask", "When are roses pruned?")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Roses are pruned in March, before the buds open. [1]\n\n[1] garden.md, section 1\n")
